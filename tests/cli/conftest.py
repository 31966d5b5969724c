from pathlib import Path

import pytest
from tests.zoo import tiny_model_folder

from accorda.methods.install import freeze, install, trainable
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.storage import companions, save_adapter
from accorda.models.load import load_model, load_tokenizer


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A tiny model folder with a tokenizer and a chat template."""
    return tiny_model_folder(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def adapter(tiny, tmp_path_factory) -> Path:
    """A LoRA adapter of the tiny model whose factors are far from zero."""
    import torch

    model = load_model(tiny)
    install(freeze(model), LoRA(rank=4))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    folder = tmp_path_factory.mktemp("adapter") / "adapter"
    save_adapter(model, folder, beside=companions(load_tokenizer(tiny)))
    return folder

from pathlib import Path

import pytest
import torch
from tests.zoo import tiny_model_folder

from accorda.data.renderer import Renderer
from accorda.methods.install import freeze, install, trainable
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.storage import companions, save_adapter
from accorda.models.load import load_model, load_tokenizer


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """A model with a chat template, two adapters of it, one without a template, one of another base."""
    place = tmp_path_factory.mktemp("chat")
    tiny_model_folder(place / "base", seed=1)
    tiny_model_folder(place / "plain", chat_template=False)
    tiny_model_folder(place / "other", seed=2)
    for name, base, seed in (("one", "base", 3), ("two", "base", 4), ("foreign", "other", 5)):
        made_adapter(place / base / "llama", place / name, seed)
    return place


def made_adapter(base: Path, folder: Path, seed: int) -> None:
    """LoRA factors far from zero, with the base's tokenizer and a renderer of prompts for `two`."""
    model, tokenizer = load_model(base), load_tokenizer(base)
    install(freeze(model), LoRA(rank=4))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    save_adapter(model, folder, beside=companions(tokenizer))
    if folder.name == "two":
        Renderer(tokenizer, kind="completion").save(folder)

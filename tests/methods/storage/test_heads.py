"""Heads that a checkpoint did not bring are trained with an adapter and kept in its files, under PEFT's names."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from tests.methods.storage.test_adapter import stirred
from tests.zoo import batch, tiny_model_folder
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.additive.prefix_tuning import PrefixTuning
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.contract import Method
from accorda.methods.install import freeze, install, installed, trainable
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.selective.bitfit import BitFit
from accorda.methods.selective.layernorm import LayerNorm
from accorda.methods.storage import load_adapter, read_header, save_adapter
from accorda.methods.storage.files import CONFIG, equal_bytes, read
from accorda.models.heads import new_heads
from accorda.models.load import load_model

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]
METHODS = [LoRA(rank=2), LayerNorm(), PromptTuning(num_virtual_tokens=3), PrefixTuning(num_virtual_tokens=3), BitFit()]


@pytest.fixture(scope="module", params=["llama", "bert"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("bases"), request.param)


def classifier(folder: Path, seed: int = 0) -> PreTrainedModel:
    return freeze(load_model(folder, head="classification", device="cpu", seed=seed))


def tuned(folder: Path, method: Method) -> PreTrainedModel:
    model = stirred(install(classifier(folder), method))
    with torch.no_grad():
        for head in new_heads(model).values():
            for parameter in head.parameters():
                parameter += 0.1
    return model


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model.eval()(**batch("llama")).logits


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_heads_come_back_with_the_adapter(folder: Path, method: Method, tmp_path: Path):
    model = tuned(folder, method)
    save_adapter(model, tmp_path)
    again = load_adapter(classifier(folder, seed=9), tmp_path)
    assert new_heads(model)
    for name, head in new_heads(model).items():
        for key, tensor in head.state_dict().items():
            assert equal_bytes(new_heads(again)[name].state_dict()[key], tensor)
    assert torch.equal(logits(again), logits(model))
    assert trainable(again) == {}


@pytest.mark.parametrize("method", METHODS[:4], ids=lambda method: type(method).__name__)
def test_peft_reads_adapter_and_head(folder: Path, method: Method, tmp_path: Path):
    model = tuned(folder, method)
    save_adapter(model, tmp_path)
    if isinstance(method, PromptTuning) and folder.name == "bert":
        assert read_header(tmp_path)["peft_type"] == "ACCORDA"  # PEFT's head would read the first vector's position
        return
    torch.manual_seed(5)
    theirs = PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(folder), tmp_path)
    assert json.loads((tmp_path / CONFIG).read_text())["task_type"] == "SEQ_CLS"
    assert (logits(theirs) - logits(model)).abs().max() <= 1e-6 * logits(model).abs().max()


def test_we_read_adapter_and_head_by_peft(folder: Path, tmp_path: Path):
    config = LoraConfig(
        task_type="SEQ_CLS", target_modules=["q_proj", "query"], modules_to_save=sorted(new_heads(classifier(folder)))
    )
    torch.manual_seed(5)
    theirs = get_peft_model(AutoModelForSequenceClassification.from_pretrained(folder), config)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.05 * parameter.requires_grad
    theirs.save_pretrained(tmp_path)
    model = load_adapter(classifier(folder), tmp_path)
    assert (logits(model) - logits(theirs)).abs().max() <= 1e-6 * logits(theirs).abs().max()


def test_we_read_a_prefix_and_head_by_peft(folder: Path, tmp_path: Path):
    torch.manual_seed(5)
    heads = sorted(new_heads(classifier(folder)))
    config = PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3, modules_to_save=heads)
    theirs = get_peft_model(AutoModelForSequenceClassification.from_pretrained(folder), config)
    theirs.save_pretrained(tmp_path)
    model = load_adapter(classifier(folder), tmp_path)
    assert (logits(model) - logits(theirs)).abs().max() <= 1e-6 * logits(theirs).abs().max()


def test_a_prompt_by_peft_before_an_encoder_is_refused(tmp_path: Path):
    bert = tiny_model_folder(tmp_path, "bert")
    config = PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3)
    get_peft_model(AutoModelForSequenceClassification.from_pretrained(bert), config).save_pretrained(
        tmp_path / "prompt"
    )
    with pytest.raises(Refusal, match="take the place of the token"):
        load_adapter(classifier(bert), tmp_path / "prompt")


def test_a_head_that_is_missing_or_has_no_place_is_refused(tmp_path: Path):
    llama = tiny_model_folder(tmp_path)
    save_adapter(tuned(llama, LoRA(rank=2)), tmp_path / "with head")
    save_adapter(stirred(install(freeze(load_model(llama, device="cpu")), LoRA(rank=2))), tmp_path / "without")
    for path, head, says in (
        ("with head", "language", "its head has the labels LABEL_0, LABEL_1, this model's no labels"),
        ("without", "classification", "its head has no labels, this model's the labels LABEL_0, LABEL_1"),
    ):
        model = load_model(llama, head=head, device="cpu")
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        with pytest.raises(Refusal, match=says):
            load_adapter(model, tmp_path / path)
        assert installed(model) == {}
        assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in before.items())
    assert "base_model.model.score.weight" in read(tmp_path / "with head").tensors

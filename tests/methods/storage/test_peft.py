"""Both directions with Hugging Face PEFT: what it reads of ours and what we read of its own says the same, to 1e-6."""

import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import LNTuningConfig, LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tests.zoo import batch, make
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.contract import Method
from accorda.methods.install import freeze, install, installed, own_tensors
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.selective.layernorm import LayerNorm
from accorda.methods.storage import load_adapter, read_header, save_adapter
from accorda.methods.storage.files import CONFIG, TENSORS, equal_bytes
from accorda.models.load import load_model, load_tokenizer
from accorda.quantization import quantize_model

PEFT_SAYS = (
    "`is_gradient_checkpointing`",
    "Setting `save_embedding_layers`",
    "fan_in_fan_out is set",
    "Unsupported layer type",
    "`lora_bias=True`",
    "Adapter 'default'",
)
pytestmark = [pytest.mark.filterwarnings(f"ignore:{words}") for words in PEFT_SAYS]
ARCHITECTURES = ("llama", "gpt2", "gpt_neox", "qwen2", "phi3", "falcon_new", "falcon_multi_query", "falcon_alibi")
QUERY_AND_VALUE = ("attention.query", "attention.value")
MIXED = ("attention.query", "attention.output", "mlp.up")  # rank and alpha differ by module where query is fused
FUSED_NAME = {"gpt2": "c_attn", "gpt_neox": "query_key_value", "phi3": "qkv_proj", "falcon_new": "query_key_value"}


@torch.no_grad()
def stir(tensors: Any, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    for tensor in tensors:
        tensor += 0.05 * torch.randn(tensor.shape, generator=generator).to(tensor.dtype)


@torch.no_grad()
def logits(model: nn.Module, architecture: str) -> torch.Tensor:
    """Of the last seven positions: PEFT leaves the prompt's in front."""
    return model.eval()(**batch(architecture)).logits[:, -7:]


def assert_same(one: torch.Tensor, other: torch.Tensor) -> None:
    """Equal to 1e-6 of the largest logit, which is about 3."""
    assert (one - other).abs().max() <= 1e-6 * other.abs().max()


def saved(method: Method | tuple[Method, ...], architecture: str, folder: Path) -> PreTrainedModel:
    model = install(freeze(make(architecture)), method)
    stir(own_tensors(model, "default").values())
    save_adapter(model, folder)
    return model


def by_peft(config: peft.PeftConfig, architecture: str, folder: Path) -> PeftModel:
    torch.manual_seed(3)
    model = get_peft_model(make(architecture), config)
    assert isinstance(model, PeftModel)
    stir(parameter for parameter in model.parameters() if parameter.requires_grad)
    model.save_pretrained(folder)
    return model


def assert_peft_reads(model: PreTrainedModel, architecture: str, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # unknown settings, missing tensors
        warnings.filterwarnings("ignore", message="Unsupported layer type")  # PEFT says so of every norm
        theirs = PeftModel.from_pretrained(make(architecture), folder)
    assert_same(logits(theirs, architecture), logits(model, architecture))


@pytest.mark.parametrize("targets", ["all-linear", QUERY_AND_VALUE, MIXED], ids=str)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_peft_reads_our_lora(architecture: str, targets: str | tuple[str, ...], tmp_path: Path):
    model = saved(LoRA(target_modules=targets, rank=3, alpha=5.0), architecture, tmp_path)
    assert_peft_reads(model, architecture, tmp_path)
    assert not torch.allclose(logits(model, architecture), logits(make(architecture), architecture), atol=1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("method", [LayerNorm(), PromptTuning(num_virtual_tokens=4)], ids=lambda m: type(m).__name__)
def test_peft_reads_our_norms_and_prompts(architecture: str, method: Method, tmp_path: Path):
    model = saved(method, architecture, tmp_path)
    assert_peft_reads(model, architecture, tmp_path)


def test_peft_reads_a_lora_that_was_trained_on_an_int8_base(tmp_path: Path):
    model = install(freeze(make("gpt2")), LoRA(rank=2))
    stir(own_tensors(model, "default").values())
    trained_on = quantize_model(make("gpt2"), "int8")
    install(trained_on, LoRA(rank=2))
    with torch.no_grad():
        for key, tensor in own_tensors(trained_on, "default").items():
            tensor.copy_(own_tensors(model, "default")[key])
    save_adapter(trained_on, tmp_path)
    assert_peft_reads(model, "gpt2", tmp_path)


def test_peft_reads_two_of_our_loras_in_one_file(tmp_path: Path):
    first = LoRA(target_modules=QUERY_AND_VALUE, rank=2, alpha=3.0)
    model = saved((first, LoRA(target_modules="mlp", rank=4, alpha=4.0)), "gpt2", tmp_path)
    assert_peft_reads(model, "gpt2", tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config["rank_pattern"] == {} != config["alpha_pattern"]  # 2 + 2 rows on c_attn


@pytest.mark.parametrize(
    "method",
    [
        (LoRA(target_modules="q_proj", rank=2, alpha=1.0), LoRA(target_modules="q_proj", rank=2, alpha=2.0)),
        (LoRA(target_modules="q_proj"), LayerNorm()),
        PromptTuning(num_virtual_tokens=2, placement="placeholder"),
    ],
    ids=["two scalings on one module", "two methods", "placeholders"],
)
def test_what_peft_cannot_compute_is_not_written_for_it(method: Method | tuple[Method, ...], tmp_path: Path):
    saved(method, "llama", tmp_path)
    assert read_header(tmp_path)["peft_type"] == "ACCORDA"


def test_our_config_is_short_and_says_what_other_tools_look_for(tmp_path: Path):
    saved(LoRA(target_modules="all-linear", rank=2, alpha=4.0), "llama", tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    linears = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert config["target_modules"] == linears
    assert (config["peft_type"], config["task_type"], config["r"], config["bias"]) == ("LORA", "CAUSAL_LM", 2, "none")
    assert repr(config["lora_alpha"]) == "4"  # servers want a whole number
    assert "accorda" not in config
    assert len(load_file(tmp_path / TENSORS)) == 2 * 7 * 2


def test_peft_refuses_our_own_format_by_name(tmp_path: Path):
    from accorda.methods.selective.bitfit import BitFit

    saved(BitFit(), "llama", tmp_path)
    with pytest.raises(KeyError, match="ACCORDA"):
        PeftModel.from_pretrained(make("llama"), tmp_path)


THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "names": ("llama", {"target_modules": ["q_proj", "v_proj"], "r": 4, "lora_alpha": 6}),
    "dropout": ("qwen2", {"target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.1}),
    "regex": ("llama", {"target_modules": r".*layers\.1.*(q|up)_proj"}),
    "all-linear": ("phi3", {"target_modules": "all-linear", "exclude_modules": ["down_proj"]}),
    "layers": ("llama", {"target_modules": ["q_proj"], "layers_to_transform": [1]}),
    "rank-stabilised": ("llama", {"target_modules": ["q_proj"], "r": 3, "lora_alpha": 7, "use_rslora": True}),
    "head": ("llama", {"target_modules": ["q_proj", "lm_head"]}),
    "Conv1D": ("gpt2", {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}),
    "no start": ("llama", {"target_modules": ["q_proj"], "init_lora_weights": False}),
    "gaussian": ("llama", {"target_modules": ["q_proj"], "init_lora_weights": "gaussian"}),
    "patterns": (
        "llama",
        {
            "target_modules": ["q_proj", "v_proj", "up_proj"],
            "rank_pattern": {"up_proj": 2, r"layers\.1\.self_attn\.q_proj": 5},
            "alpha_pattern": {"v_proj": 11},
        },
    ),
    "patterns, rank-stabilised": (
        "gpt_neox",
        {"target_modules": ["query_key_value", "dense"], "rank_pattern": {"dense": 2}, "use_rslora": True},
    ),
} | {f"fused {name}": (name, {"target_modules": [module]}) for name, module in FUSED_NAME.items()}


@pytest.mark.parametrize(("architecture", "settings"), THEIRS.values(), ids=THEIRS)
def test_we_read_a_lora_by_peft_and_give_it_back(architecture: str, settings: dict[str, Any], tmp_path: Path):
    theirs = by_peft(LoraConfig(task_type="CAUSAL_LM", **settings), architecture, tmp_path / "theirs")
    model = load_adapter(make(architecture), tmp_path / "theirs")
    assert_same(logits(model, architecture), logits(theirs, architecture))
    save_adapter(model, tmp_path / "ours")
    assert_peft_reads(model, architecture, tmp_path / "ours")
    written, read = (load_file(tmp_path / who / TENSORS) for who in ("theirs", "ours"))
    assert {key for key in written if ".lora_" in key} == read.keys()
    assert all(equal_bytes(tensor, written[key]) for key, tensor in read.items())


def test_settings_of_a_lora_by_peft_become_ours(tmp_path: Path):
    settings = {"target_modules": ["up_proj", "q_proj"], "r": 4, "lora_alpha": 6, "lora_dropout": 0.25}
    by_peft(LoraConfig(**settings), "llama", tmp_path)
    (method,) = installed(load_adapter(make("llama"), tmp_path))["default"]
    assert method == LoRA(target_modules=("q_proj", "up_proj"), rank=4, alpha=6.0, dropout=0.25)
    assert read_header(tmp_path)["methods"] is None


@pytest.mark.parametrize("targets", [None, ["input_layernorm"]], ids=str)
def test_we_read_norms_by_peft(targets: list[str] | None, tmp_path: Path):
    theirs = by_peft(LNTuningConfig(task_type="CAUSAL_LM", target_modules=targets), "llama", tmp_path)
    model = load_adapter(make("llama"), tmp_path)
    assert_same(logits(model, "llama"), logits(theirs, "llama"))


def test_we_say_which_norms_would_train_beyond_the_files(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    by_peft(LNTuningConfig(target_modules=["input_layernorm"]), "llama", tmp_path)
    load_adapter(make("llama"), tmp_path, trainable=True)
    assert "leaves 3 norms as they are, from model.layers.0.post_attention_layernorm on" in caplog.text


NORM = "base_model.model.model.layers.1.input_layernorm.ln_tuning_layers.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({NORM: None}, f"missing {NORM}"),
        ({NORM: torch.ones(3)}, f"{NORM} has shape 3, this model needs 32"),
        ({NORM.replace("input", "post_attention"): torch.ones(32)}, "unexpected .*post_attention_layernorm"),
    ],
    ids=["missing", "shape", "unexpected"],
)
def test_norms_that_do_not_fit_are_refused(change: dict[str, Any], says: str, tmp_path: Path):
    by_peft(LNTuningConfig(target_modules=["input_layernorm"]), "llama", tmp_path)
    tensors = load_file(tmp_path / TENSORS) | change
    save_file({key: tensor for key, tensor in tensors.items() if tensor is not None}, tmp_path / TENSORS)
    with pytest.raises(Refusal, match=says):
        load_adapter(make("llama"), tmp_path)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma"])
def test_we_read_prompts_by_peft(architecture: str, tmp_path: Path):
    theirs = by_peft(PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5), architecture, tmp_path)
    model = load_adapter(make(architecture), tmp_path)
    assert_same(logits(model, architecture), logits(theirs, architecture))


def test_a_half_precision_file_is_read_exactly(tmp_path: Path):
    by_peft(LoraConfig(target_modules=["q_proj"]), "llama", tmp_path)
    half = {key: tensor.bfloat16() for key, tensor in load_file(tmp_path / TENSORS).items()}
    save_file(half, tmp_path / TENSORS)
    model = load_adapter(make("llama"), tmp_path)
    wanted = half["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"].float()
    assert torch.equal(own_tensors(model, "default")["model.layers.0.self_attn.q_proj.0_all.lora_A"], wanted)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "bias": ({"bias": "lora_only"}, "bias = lora_only"),
    "lora_bias": ({"lora_bias": True}, "lora_bias = True"),
    "pissa": ({"init_lora_weights": "pissa"}, "init_lora_weights = pissa changes the base"),
    "whole modules": ({"modules_to_save": ["lm_head"]}, "lm_head.weight is not the lm_head.weight of this model"),
    "embedding": ({"target_modules": ["embed_tokens"]}, "embed_tokens .*is none"),
    "tokens": ({"trainable_token_indices": [3]}, "trainable_token_indices"),
}


@pytest.mark.parametrize(("settings", "says"), REFUSED.values(), ids=REFUSED)
def test_what_we_cannot_compute_is_refused_in_one_line(settings: dict[str, Any], says: str, tmp_path: Path):
    by_peft(LoraConfig(**{"target_modules": ["q_proj"]} | settings), "llama", tmp_path)
    model = make("llama")
    with pytest.raises(Refusal, match=says) as refusal:
        load_adapter(model, tmp_path)
    assert "\n" not in str(refusal.value)
    assert installed(model) == {}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"r": 0}, "r = 0: must be a whole number above 0"),
        ({"lora_alpha": "16"}, "lora_alpha = 16: must be a number above 0"),
        ({"r": 4}, "q_proj.lora_A has shape 8x32, the config's rank for it is 4"),
        ({"target_modules": ["q_proj", "k_proj"]}, r"missing .*k_proj.lora_A.weight"),
        ({"target_modules": r".*layers\.0.*q_proj"}, r"unexpected .*layers.1.self_attn.q_proj.lora_A.weight"),
        ({"target_modules": ["qq_proj"]}, r"\('qq_proj',\) matches nothing"),
        ({"peft_type": "BOFT"}, r"peft_type = 'BOFT': accorda loads .*LN_TUNING, .*LORA, .*PROMPT_TUNING"),
        ({"peft_type": None}, "peft_type = None"),
        ({"of_tomorrow": {"x": 1}}, "of_tomorrow"),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_its_tensors_is_refused(change: dict[str, Any], says: str, tmp_path: Path):
    by_peft(LoraConfig(target_modules=["q_proj"]), "llama", tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(Refusal, match=says):
        load_adapter(make("llama"), tmp_path)


def test_other_files_by_peft_are_refused(tmp_path: Path):
    by_peft(LNTuningConfig(target_modules=["q_proj"]), "llama", tmp_path / "no norm")
    with pytest.raises(Refusal, match=r"names model.layers.0.self_attn.q_proj, which is no norm"):
        load_adapter(make("llama"), tmp_path / "no norm")
    by_peft(PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5), "llama", tmp_path / "prompt")
    config = json.loads((tmp_path / "prompt" / CONFIG).read_text())
    for change, says in (
        ({"num_virtual_tokens": 4}, "shape 5x32, but num_virtual_tokens = 4"),
        ({"num_virtual_tokens": None}, "num_virtual_tokens: missing"),
        ({"num_transformer_submodules": 2}, "num_transformer_submodules = 2"),
    ):
        (tmp_path / "prompt" / CONFIG).write_text(json.dumps(config | change))
        with pytest.raises(Refusal, match=says):
            load_adapter(make("llama"), tmp_path / "prompt")


def test_a_lora_that_left_the_rows_of_its_part_is_refused(tmp_path: Path):
    saved(LoRA(target_modules=QUERY_AND_VALUE, rank=2), "gpt2", tmp_path)
    with torch.no_grad():
        from accorda.methods.storage.files import Files, read, write

        content = read(tmp_path)
        tensors = dict(content.tensors)
        key = "base_model.model.transformer.h.1.attn.c_attn.lora_B.weight"
        tensors[key] = tensors[key].index_fill(0, torch.tensor([40]), 0.5)  # a row of a key
    write(tmp_path, Files(content.config, content.metadata, tensors))
    with pytest.raises(Refusal, match="reaches beyond the rows of query"):
        load_adapter(make("gpt2"), tmp_path)


def test_a_fused_lora_without_our_header_is_one_lora_on_the_whole_module(tmp_path: Path):
    model = saved(LoRA(target_modules=QUERY_AND_VALUE, rank=2), "gpt2", tmp_path)
    save_file(load_file(tmp_path / TENSORS), tmp_path / TENSORS)
    again = load_adapter(make("gpt2"), tmp_path)
    assert installed(again)["default"] == (LoRA(target_modules=("c_attn",), rank=4, alpha=64.0),)
    assert_same(logits(again, "gpt2"), logits(model, "gpt2"))


@pytest.mark.parametrize("method", [LoRA(rank=4), LayerNorm(), PromptTuning(num_virtual_tokens=4)], ids=repr)
def test_a_real_checkpoint(stories: Path, method: Method, tmp_path: Path):
    model = install(freeze(load_model(stories, device="cpu")), method)
    stir(own_tensors(model, "default").values())
    save_adapter(model, tmp_path)
    with torch.no_grad():
        ids = torch.tensor([load_tokenizer(stories)("Once upon a time there was a little girl")["input_ids"]])
        theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(stories), tmp_path)
        given, wanted = theirs.eval()(input_ids=ids).logits[:, -ids.shape[1] :], model(input_ids=ids).logits
    assert_same(given, wanted)
    again = load_adapter(load_model(stories, device="cpu"), tmp_path)
    assert torch.equal(again(input_ids=ids).logits, wanted)

"""Both directions with Hugging Face PEFT for the relatives of LoRA: what either writes, the other computes the same."""

import json
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import AdaLoraConfig, LoKrConfig, LoraConfig, PeftModel, VeraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tests.methods.storage.test_peft import FUSED_NAME, PEFT_SAYS, assert_same, logits, saved
from tests.zoo import batch, make
from torch.nn import functional

from accorda.errors import Refusal
from accorda.methods.contract import Method
from accorda.methods.install import installed, own_tensors
from accorda.methods.reparametrized.adalora import AdaLoRA
from accorda.methods.reparametrized.dora import DoRA
from accorda.methods.reparametrized.krona import KronA
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.reparametrized.lora_plus import LoRAPlus
from accorda.methods.reparametrized.pissa import PiSSA
from accorda.methods.reparametrized.rslora import RsLoRA
from accorda.methods.reparametrized.vera import VeRA
from accorda.methods.storage import load_adapter, read_header, save_adapter
from accorda.methods.storage.files import CONFIG, TENSORS
from accorda.methods.storage.peft.lokr import factorisation

SEED_ONLY = ("Specified to not load vera_A", "Specified to not save vera_A")
pytestmark = [pytest.mark.filterwarnings(f"ignore:{words}") for words in (*PEFT_SAYS, *SEED_ONLY, "`init_lora")]
QUERY_AND_VALUE = ("attention.query", "attention.value")


def assert_peft_reads(model: Any, architecture: str, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # unknown settings, missing tensors
        for words in SEED_ONLY:
            warnings.filterwarnings("ignore", message=words)
        theirs = PeftModel.from_pretrained(make(architecture), folder)
    assert_same(logits(theirs, architecture), logits(model, architecture))
    assert (logits(theirs, architecture) - logits(make(architecture), architecture)).abs().max() > 1e-4


def trained_by_peft(config: peft.PeftConfig, architecture: str, folder: Path, start: Path | None = None) -> PeftModel:
    """A few steps of AdamW by PEFT, with its own loss, saved; `start`: where the untrained adapter is kept."""
    torch.manual_seed(3)
    model = get_peft_model(make(architecture), config)
    assert isinstance(model, PeftModel)
    if start is not None:
        model.save_pretrained(start)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
    for _ in range(4):
        ids = batch(architecture)["input_ids"]
        scores = model(**batch(architecture)).logits[:, :-1]
        functional.cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder, **({} if start is None else {"path_initial_model_for_weight_conversion": str(start)}))
    return model


PRODUCTS = [RsLoRA(rank=3, alpha=5.0), LoRAPlus(rank=3, alpha=5.0), DoRA(rank=3, alpha=5.0), PiSSA(rank=3, alpha=5.0)]


def kind(method: Method) -> str:
    return type(method).__name__


@pytest.mark.parametrize("targets", ["all-linear", QUERY_AND_VALUE], ids=str)
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "phi3", "falcon_new"])
@pytest.mark.parametrize("method", PRODUCTS, ids=kind)
def test_peft_reads_our_products(method: Any, architecture: str, targets: Any, tmp_path: Path):
    own = type(method)(rank=3, alpha=5.0, target_modules=targets)
    model = saved(own, architecture, tmp_path)
    assert_peft_reads(model, architecture, tmp_path)
    assert read_header(tmp_path)["peft_type"] == "LORA"
    again = load_adapter(make(architecture), tmp_path)
    assert installed(again)["default"] == (own,)
    assert torch.equal(logits(again, architecture), logits(model, architecture))


def test_a_pissa_without_our_header_is_a_lora_of_twice_the_rank(tmp_path: Path):
    model = saved(PiSSA(rank=3, alpha=6.0, target_modules="q_proj"), "llama", tmp_path)
    save_file(load_file(tmp_path / TENSORS), tmp_path / TENSORS)
    again = load_adapter(make("llama"), tmp_path)
    assert installed(again)["default"] == (LoRA(rank=6, alpha=12.0, target_modules=("q_proj",)),)
    assert_same(logits(again, "llama"), logits(model, "llama"))


def test_different_products_in_one_file(tmp_path: Path):
    methods = (
        LoRA(rank=2, target_modules="q_proj"),
        RsLoRA(rank=4, target_modules="mlp"),
        PiSSA(rank=2, target_modules="v_proj"),
    )
    assert_peft_reads(saved(methods, "llama", tmp_path), "llama", tmp_path)
    assert json.loads((tmp_path / CONFIG).read_text())["use_rslora"] is False


THEIRS: dict[str, tuple[str, peft.PeftConfig, type[Method]]] = {
    "rslora": ("llama", LoraConfig(target_modules=["q_proj"], r=3, lora_alpha=7, use_rslora=True), RsLoRA),
    "dora": ("llama", LoraConfig(target_modules=["q_proj", "up_proj"], r=3, use_dora=True), DoRA),
    "dora, rank-stabilised": ("llama", LoraConfig(target_modules=["q_proj"], use_dora=True, use_rslora=True), DoRA),
    "dora, patterns": (
        "llama",
        LoraConfig(target_modules=["q_proj", "v_proj"], use_dora=True, rank_pattern={"v_proj": 2}),
        DoRA,
    ),
    "dora, Conv1D": ("gpt2", LoraConfig(target_modules=["c_attn", "c_fc"], use_dora=True, fan_in_fan_out=True), DoRA),
    "vera": ("llama", VeraConfig(target_modules=["q_proj", "down_proj"], r=8), VeRA),
    "vera, seed only": (
        "llama",
        VeraConfig(target_modules=["q_proj"], r=8, projection_prng_key=4, save_projection=False, d_initial=0.3),
        VeRA,
    ),
    "vera, Conv1D": ("gpt2", VeraConfig(target_modules=["c_attn", "c_proj"], r=8, fan_in_fan_out=True), VeRA),
    "lokr": ("llama", LoKrConfig(target_modules=["q_proj", "k_proj"], r=16, alpha=4), KronA),
    "lokr, factor": ("llama", LoKrConfig(target_modules=["q_proj", "up_proj"], r=32, decompose_factor=2), KronA),
    "lokr, patterns": (
        "llama",
        LoKrConfig(target_modules=["q_proj", "up_proj"], r=32, alpha_pattern={"up_proj": 3}),
        KronA,
    ),
}


@pytest.mark.parametrize(("architecture", "config", "expected"), THEIRS.values(), ids=THEIRS)
def test_we_read_what_peft_trained_and_give_it_back(architecture: str, config: Any, expected: Any, tmp_path: Path):
    theirs = trained_by_peft(config, architecture, tmp_path / "theirs")
    model = load_adapter(make(architecture), tmp_path / "theirs")
    assert {type(method) for method in installed(model)["default"]} == {expected}
    assert_same(logits(model, architecture), logits(theirs, architecture))
    save_adapter(model, tmp_path / "ours")
    assert_peft_reads(model, architecture, tmp_path / "ours")


@pytest.mark.parametrize(
    "settings", [{}, {"rank_pattern": {"down_proj": 2}, "alpha_pattern": {"down_proj": 5}}], ids=str
)
def test_we_read_a_pissa_that_peft_converted(settings: dict[str, Any], tmp_path: Path):
    config = LoraConfig(
        target_modules=["q_proj", "down_proj"], r=3, lora_alpha=5, init_lora_weights="pissa", **settings
    )
    theirs = trained_by_peft(config, "llama", tmp_path / "theirs", tmp_path / "start")
    model = load_adapter(make("llama"), tmp_path / "theirs")
    assert (logits(model, "llama") - logits(theirs, "llama")).abs().max() < 1e-5


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "phi3", "falcon_new"])
def test_peft_reads_our_vera_from_its_seed(architecture: str, tmp_path: Path):
    model = saved(VeRA(rank=6, seed=11, dropout=0.1), architecture, tmp_path)
    assert_peft_reads(model, architecture, tmp_path)
    assert torch.equal(logits(load_adapter(make(architecture), tmp_path), architecture), logits(model, architecture))


@pytest.mark.parametrize("shape", [(8, 8), (16, 16), (32, 16), (1, 2)])
def test_peft_reads_our_krona_where_lokr_has_its_shapes(shape: tuple[int, int], tmp_path: Path):
    model = saved(KronA(block_shape=shape, scaling=0.7, target_modules=("q_proj", "o_proj")), "llama", tmp_path)
    expressible = shape in ((8, 8), (16, 16))
    assert read_header(tmp_path)["peft_type"] == ("LOKR" if expressible else "ACCORDA")
    if expressible:
        assert_peft_reads(model, "llama", tmp_path)
    assert torch.equal(logits(load_adapter(make("llama"), tmp_path), "llama"), logits(model, "llama"))


@pytest.mark.parametrize("targets", ["all-linear", QUERY_AND_VALUE], ids=str)
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "phi3", "falcon_new"])
def test_peft_reads_our_adalora(architecture: str, targets: Any, tmp_path: Path):
    method = AdaLoRA(rank=2, initial_rank=4, alpha=8.0, target_modules=targets, beta1=0.9, initial_share=0.2)
    model = saved(method, architecture, tmp_path)
    assert_peft_reads(model, architecture, tmp_path)
    assert read_header(tmp_path)["peft_type"] == "ADALORA"
    again = load_adapter(make(architecture), tmp_path)
    assert installed(again)["default"] == (method,)
    assert torch.equal(logits(again, architecture), logits(model, architecture))


def adalora_by_peft(folder: Path, prune: bool) -> PeftModel:
    """Six steps by PEFT; `prune` lets it cut triplets, also out of its file."""
    torch.manual_seed(3)
    config = AdaLoraConfig(
        target_modules=["q_proj", "up_proj"], init_r=5, target_r=2, total_step=6, tfinal=2, beta1=0.9
    )
    model = get_peft_model(make("llama"), config)
    assert isinstance(model, PeftModel)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    ids = batch("llama")["input_ids"]
    for step in range(1, 7):
        functional.cross_entropy(model(**batch("llama")).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
        if prune:
            model.base_model.update_and_allocate(step)
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("prune", [True, False], ids=["pruned", "whole"])
def test_we_read_an_adalora_by_peft_and_give_it_back(prune: bool, tmp_path: Path):
    theirs = adalora_by_peft(tmp_path / "theirs", prune)
    cut = json.loads((tmp_path / "theirs" / CONFIG).read_text())["rank_pattern"]
    assert bool(cut) == prune
    model = load_adapter(make("llama"), tmp_path / "theirs")
    assert_same(logits(model, "llama"), logits(theirs, "llama"))
    (method,) = installed(model)["default"]
    wanted = {"rank": 2, "initial_rank": 5, "alpha": 8.0, "beta1": 0.9, "final_share": 2 / 6, "every": 1}
    assert {name: getattr(method, name) for name in wanted} == wanted
    save_adapter(model, tmp_path / "ours")
    assert_peft_reads(model, "llama", tmp_path / "ours")


def test_a_rank_pattern_of_another_model_is_refused(tmp_path: Path):
    adalora_by_peft(tmp_path, prune=True)
    config = json.loads((tmp_path / CONFIG).read_text())
    first = next(iter(config["rank_pattern"]))
    config["rank_pattern"][first] = config["rank_pattern"][first][1:]
    (tmp_path / CONFIG).write_text(json.dumps(config))
    with pytest.raises(Refusal, match=r"rank_pattern names .* with 4 triplets, which this model lacks"):
        load_adapter(make("llama"), tmp_path)


def test_sizes_are_cut_as_lokr_cuts_them():
    from peft.tuners.lokr.layer import factorization

    for number in (1, 7, 16, 32, 36, 48, 96, 127, 768, 11008):
        for factor in (-1, 1, 2, 3, 5, 8, 24, 64, 1000):
            assert factorisation(number, factor) == factorization(number, factor)[0], (number, factor)


@pytest.mark.parametrize(
    ("method", "architecture"),
    [
        (VeRA(rank=4, target_modules=QUERY_AND_VALUE), "gpt2"),
        (KronA(target_modules="c_fc", block_shape=(2, 2)), "gpt2"),
        ((DoRA(rank=2, target_modules="q_proj"), DoRA(rank=2, target_modules="q_proj")), "llama"),
        ((DoRA(rank=2, target_modules="q_proj"), LoRA(rank=2, target_modules="v_proj")), "llama"),
    ],
    ids=["parts of a projection", "Conv1D", "twice on a module", "with and without magnitudes"],
)
def test_what_peft_cannot_compute_is_in_our_format(method: Any, architecture: str, tmp_path: Path):
    model = saved(method, architecture, tmp_path)
    assert read_header(tmp_path)["peft_type"] == "ACCORDA"
    assert torch.equal(logits(load_adapter(make(architecture), tmp_path), architecture), logits(model, architecture))


REFUSED: dict[str, tuple[peft.PeftConfig, str]] = {
    "thin factors": (LoKrConfig(target_modules=["q_proj"], r=2), "lokr_w2_a: r = 2 makes this factor a product"),
    "dropout of modules": (LoKrConfig(target_modules=["q_proj"], r=32, module_dropout=0.1), "module_dropout = 0.1"),
    "biases": (VeraConfig(target_modules=["q_proj"], bias="vera_only"), "bias = vera_only"),
    "adalora, biases": (AdaLoraConfig(target_modules=["q_proj"], total_step=9, bias="all"), "bias = all"),
    "dora, biases": (LoraConfig(target_modules=["q_proj"], use_dora=True, bias="all"), "bias = all"),
    "dora from pissa": (
        LoraConfig(target_modules=["q_proj"], use_dora=True, init_lora_weights="pissa"),
        "init_lora_weights = pissa",
    ),
}


@pytest.mark.parametrize(("config", "says"), REFUSED.values(), ids=REFUSED)
def test_what_we_cannot_compute_is_refused_in_one_line(config: Any, says: str, tmp_path: Path):
    trained_by_peft(config, "llama", tmp_path)
    model = make("llama")
    with pytest.raises(Refusal, match=says) as refusal:
        load_adapter(model, tmp_path)
    assert "\n" not in str(refusal.value)
    assert installed(model) == {}


def changed(folder: Path, key: str, at: int) -> None:
    tensors = load_file(folder / TENSORS)
    tensors[key][at] += 1
    metadata = {}
    from safetensors import safe_open

    with safe_open(folder / TENSORS, "pt") as file:
        metadata = file.metadata()
    save_file(tensors, folder / TENSORS, metadata)


def test_other_projections_than_the_seeds_are_refused(tmp_path: Path):
    trained_by_peft(VeraConfig(target_modules=["q_proj"], r=4), "llama", tmp_path)
    changed(tmp_path, "base_model.vera_B", 5)
    with pytest.raises(Refusal, match=r"vera_B is not what projection_prng_key draws"):
        load_adapter(make("llama"), tmp_path)


@pytest.mark.parametrize("architecture", ["gpt2", "phi3"])
def test_a_magnitude_outside_its_part_is_refused(architecture: str, tmp_path: Path):
    model = saved(DoRA(rank=2, target_modules=("attention.query",)), architecture, tmp_path)
    path = next(key for key in own_tensors(model, "default") if FUSED_NAME[architecture] in key).split(".0_query")[0]
    changed(tmp_path, f"base_model.model.{path}.lora_magnitude_vector", 40)
    with pytest.raises(Refusal, match="changes rows that the adapter was not made for"):
        load_adapter(make(architecture), tmp_path)

"""The bill from a configuration alone, against a formula written by hand."""

import json
import sys

import pytest
import torch
from tests.stages.runs import SUMS, settings, write_rows
from tests.zoo import tiny_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

import accorda
from accorda.errors import Refusal
from accorda.methods.registry import methods
from accorda.planning.devices import Device
from accorda.recipe.load import load
from accorda.stages import preflight
from accorda.stages.build import build
from accorda.training import precision

MODULE = sys.modules[accorda.plan.__module__]
D, INNER, BLOCKS, HEADS, KV, V = 64, 96, 2, 4, 2, 300  # a small Llama, keys and values of half the width
CONFIG = {
    "model_type": "llama",
    "hidden_size": D,
    "intermediate_size": INNER,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV,
    "vocab_size": V,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
LINEARS = [(D, D), (D, D // 2), (D, D // 2), (D, D), (D, INNER), (D, INNER), (INNER, D)]
WEIGHTS = BLOCKS * (sum(i * o for i, o in LINEARS) + 2 * D) + D + 2 * V * D
ROTARY = D // HEADS // 2  # a buffer


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))


def planned(device="rtx-4090", config=CONFIG, **sections):
    return accorda.plan({"model": {"config": config}, **sections}, device=device, savings=False)


def test_lora_on_a_small_llama_by_hand():
    rank = 4
    adapter = BLOCKS * rank * sum(i + o for i, o in LINEARS)
    bill = planned(method={"name": "lora", "rank": rank}, training={"precision": "fp32"})
    assert bill["weights"] == pytest.approx(4 * (WEIGHTS + ROTARY), abs=64)
    assert bill["adapter"] == 4 * adapter
    assert bill["optimizer states"] == 8 * adapter + 4 * (2 * len(LINEARS) * BLOCKS)  # two moments, a step count each
    assert bill["copies"] == 0  # of the proof of resume: in the host's memory
    assert (
        planned("cpu", method={"name": "lora", "rank": rank}, training={"precision": "fp32"})["copies"] >= 12 * adapter
    )
    training = next(moment for moment in bill.moments if moment.name == "training")
    assert training["gradients"] <= 4 * adapter
    assert bill.fits is True


def test_full_training_is_sixteen_bytes_a_parameter():
    bill = planned(method={"name": "full", "keep_base": False}, training={"precision": "fp32"}, stage="pretrain")
    assert bill["weights"] == pytest.approx(4 * WEIGHTS, rel=0.001)
    assert bill["gradients"] <= 4 * WEIGHTS
    assert bill["optimizer states"] == pytest.approx(8 * WEIGHTS, rel=0.01)


def test_the_key_value_cache_by_hand():
    new, length, rows = 8, 128, 2
    bill = planned(
        evaluation={"generate": rows, "max_new_tokens": new},
        data={"max_length": length},
        training={"precision": "fp32"},
    )
    per_position = 2 * BLOCKS * KV * (D // HEADS) * 4
    answers = next(moment for moment in bill.moments if moment.name == "answers")
    # the prompt's, those before the last token and with it; how many are alive at the fullest instant is not ours
    sizes = [rows * per_position * positions for positions in (length - new, length - 1, length)]
    assert 0 < answers["key/value cache"] <= sizes[1] + sizes[2]


def test_sixteen_bits_and_int8_by_hand():
    half = planned(config=CONFIG, model={"config": CONFIG, "dtype": "bfloat16"}, training={"precision": "bf16"})
    assert half["weights"] == pytest.approx(2 * WEIGHTS, rel=0.01)
    eight = planned(model={"config": CONFIG, "quantization": "int8"}, training={"precision": "fp32"})
    linear, outputs = sum(i * o for i, o in LINEARS), sum(o for _, o in LINEARS)
    assert eight["weights"] == pytest.approx(
        BLOCKS * (linear + 4 * outputs) + 4 * (WEIGHTS - BLOCKS * linear), rel=0.01
    )


@pytest.mark.parametrize("double", [True, False])
def test_nf4_by_hand(double, tmp_path):
    linear = sum(i * o for i, o in LINEARS)
    packed = BLOCKS * linear * (4.127 if double else 4.5) / 8
    model = {"config": CONFIG, "quantization": "nf4", "double_quantization": double, "dtype": "bfloat16"}
    bill = planned(model=model, training={"precision": "bf16"})
    assert bill["weights"] == pytest.approx(packed + 2 * (WEIGHTS - BLOCKS * linear), rel=0.01)
    said = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": double}
    (tmp_path / "config.json").write_text(
        json.dumps(CONFIG | {"torch_dtype": "bfloat16", "quantization_config": said}), encoding="utf-8"
    )
    recipe = {
        "model": {"path": str(tmp_path)},
        "stage": "pretrain",
        "method": "lora",
        "training": {"precision": "bf16"},
    }
    assert accorda.plan(recipe, device="cpu", savings=False)["weights"] == bill["weights"]


@pytest.mark.parametrize("method", methods())
def test_every_method_from_a_configuration(method):
    bill = planned(method={"name": method})
    assert bill.total > bill["weights"] > 0


@pytest.mark.parametrize("stage", ["sft", "pretrain"])
def test_a_folder_with_a_configuration_and_nothing_else(tmp_path, stage):
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG | {"torch_dtype": "bfloat16"}), encoding="utf-8")
    recipe = {"model": {"path": str(folder)}, "stage": stage, "method": "lora", "training": {"precision": "bf16"}}
    bill = accorda.plan(recipe, device="cpu", savings=False)
    assert bill["weights"] == pytest.approx(2 * WEIGHTS, rel=0.01)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json"]


def test_with_data_the_longest_rows_decide(tmp_path):
    folder = tmp_path / "bare"
    folder.mkdir()
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(folder)
    config = CONFIG | {"vocab_size": len(tokenizer) + 8}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    recipe = {"model": {"path": str(folder)}, "method": "lora", "training": {"packing": False, "batch_size": 8}}
    short = recipe | {"data": {"train": str(write_rows(tmp_path / "short.jsonl", SUMS))}}
    rows = [*SUMS, {"prompt": "7 plus 5 is " * 8, "completion": "12"}]
    long = recipe | {"data": {"train": str(write_rows(tmp_path / "long.jsonl", rows))}}
    few, many, most = (accorda.plan(one, device="cpu", savings=False) for one in (short, long, recipe))
    assert few["activations"] < many["activations"] < most["activations"]


def test_before_the_run_and_without_it_the_bill_is_the_same(tmp_path):
    recipe = settings(tmp_path)
    bill = preflight.bill(build(load(recipe)))
    again = accorda.plan(recipe, device="cpu")
    assert [moment.name for moment in again.moments] == [moment.name for moment in bill.moments]
    for item in ("weights", "adapter", "optimizer states", "activations"):
        assert again[item] == bill[item], item


@pytest.mark.parametrize("more", [0, -1], ids=["as many", "one more"])
def test_what_a_method_adds_does_not_decide_what_products_run_in(more, tmp_path, monkeypatch):
    """`auto` counts the base's parameters, in a run as in its plan; full fine-tuning keeps them a second time."""
    recipe = settings(tmp_path) | {"method": {"name": "full"}}
    recipe["training"] = recipe["training"] | {"precision": "auto"}
    with torch.device("meta"):
        config = AutoConfig.from_pretrained(recipe["model"]["path"])
        number = AutoModelForCausalLM.from_config(config).num_parameters()
    monkeypatch.setattr(precision, "SMALL_MODEL", number + more)
    monkeypatch.setattr(precision, "has_bf16", lambda kind: True)
    run = build(load(recipe))
    assert run.recipe.training.precision == ("fp32" if more == 0 else "bf16")
    again = accorda.plan(recipe, device="cpu", savings=False)
    assert again["activations"] == preflight.bill(run)["activations"]


def test_a_deep_model_is_told_by_two_shallow_ones():
    deep = CONFIG | {"num_hidden_layers": 16}
    from accorda.stages.plan import DEPTHS

    assert deep["num_hidden_layers"] > 2 * max(DEPTHS["cpu"])
    on_the_line = planned(config=deep, method={"name": "lora"})
    windows = deep | {"layer_types": ["full_attention"] * 16}
    assert planned(config=windows)["weights"] == on_the_line["weights"]
    whole = whole_bill(deep)
    for item in ("weights", "adapter", "gradients", "optimizer states", "activations"):
        assert on_the_line[item] == pytest.approx(whole[item], rel=0.02), item
    assert on_the_line.total == pytest.approx(whole.total, rel=0.02)


def whole_bill(config):
    """The bill with every block rehearsed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "is_uniform", lambda opened: False)
        return planned(config=config, method={"name": "lora"})


def test_what_does_not_fit_comes_with_changes_that_do(monkeypatch):
    training = {"batch_size": 16, "precision": "fp32"}
    recipe = {"model": {"config": CONFIG}, "method": "full", "training": training, "data": {"max_length": 8}}
    total = accorda.plan(recipe, device="rtx-4090").total
    small = Device("small", "cuda", total - 1, True)
    monkeypatch.setattr(MODULE, "find_device", lambda name: small)
    bill = accorda.plan(recipe)
    assert bill.fits is False
    assert {"training.micro_batch_size", "training.gradient_checkpointing", "method", "method.keep_base"} <= {
        name for change in bill.changes for name in change.settings
    }
    best = bill.changes[0]
    assert best.fits is True
    assert best.saves == pytest.approx(bill.total - best.total, abs=1)
    assert all(change.saves > 0 for change in bill.changes)


def test_a_plan_draws_nothing_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = torch.get_rng_state()
    planned()
    assert torch.equal(torch.get_rng_state(), state)
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_refuses_a_plan_refuses():
    with pytest.raises(Refusal, match="lora"):
        planned(method={"name": "lorra"})
    with pytest.raises(Refusal, match="positions"):
        planned(data={"max_length": 100000})

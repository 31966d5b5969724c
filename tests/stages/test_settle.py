import pytest
import torch
from tests.zoo import make
from transformers import LlamaConfig, LlamaForCausalLM

from accorda.errors import Refusal
from accorda.methods.registry import methods
from accorda.methods.reparametrized.dora import DoRA
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.selective.bitfit import BitFit
from accorda.planning.devices import devices, find_device
from accorda.recipe.load import load
from accorda.stages import settle


def test_length_is_the_models_positions_at_most_1024():
    recipe = settle.settle_length(load({}), make("llama", meta=True))
    assert recipe.data.max_length == 64
    assert recipe.origin("data.max_length") == "auto: the model's positions"
    long = make("llama", meta=True, max_position_embeddings=4096)
    assert settle.settle_length(load({}), long).data.max_length == 1024


def test_learned_positions_count_too():
    assert settle.positions(make("gpt2", meta=True)) == 64


def test_packing_needs_our_attention():
    kept = "FalconForCausalLM keeps its own attention function"
    llama = make("llama", meta=True)
    assert settle.settle_packing(load({}), None, llama).training.packing is True
    assert settle.settle_packing(load({}), kept, llama).training.packing is False
    with pytest.raises(Refusal, match="Falcon"):
        settle.settle_packing(load({"training": {"packing": True}}), kept, llama)


def test_rows_are_padded_where_a_line_has_a_bias_for_every_pair_of_its_tokens():
    t5, bart = make("t5", meta=True), make("bart", meta=True)
    recipe = settle.settle_packing(load({}), None, t5)
    assert recipe.training.packing is False
    assert "a bias for every pair of tokens" in recipe.origin("training.packing")
    assert settle.settle_packing(load({}), None, bart).training.packing is True
    assert settle.settle_packing(load({"training": {"packing": True}}), None, t5).training.packing is True


def test_t5_has_no_bound_whatever_its_texts_were():
    assert settle.positions(make("bart", meta=True)) == 64
    assert settle.positions(make("t5", meta=True, n_positions=512)) is None
    assert settle.settle_length(load({}), make("t5", meta=True, n_positions=512)).data.max_length == 1024


def test_a_rate_nobody_measured_is_asked_for(monkeypatch):
    small = {"most_parameters": 100, "rates": {"sft": {"lora": {"rate": 0.5, "origin": "here"}}}}
    middle = {"most_parameters": 100, "rates": {}}
    published = {"sft": {"lora": {"rate": 0.1, "origin": "paper"}}}
    table = {"small": small, "middle": middle, "published": published}
    monkeypatch.setattr(settle, "learning_rates", lambda: table)
    recipe = settle.settle_rate(load({}), (LoRA(),), 100)
    assert (recipe.training.learning_rate, recipe.origin("training.learning_rate")) == (0.5, "auto: here")
    assert settle.settle_rate(load({}), (LoRA(),), 101).training.learning_rate == 0.1
    with pytest.raises(Refusal, match="--lr"):
        settle.settle_rate(load({"stage": "pretrain"}), (LoRA(),), 100)


def test_a_rate_is_of_the_models_size_or_the_nearest_that_is_known():
    entry = {"lora": {"rate": 0.3, "origin": ""}}, {"lora": {"rate": 0.2, "origin": ""}, "bitfit": {"rate": 0.02}}
    table = {
        "small": {"most_parameters": 10, "rates": {"classify": entry[0]}},
        "middle": {"most_parameters": 100, "rates": {"classify": entry[1]}},
        "published": {"classify": {"lora": {"rate": 0.1}, "full": {"rate": 0.001}}},
    }

    def rates(size):
        return {name: each["rate"] for name, each in settle.rates_of(table, "classify", size).items()}

    assert rates(10) == {"lora": 0.3, "bitfit": 0.02}
    assert rates(11) == rates(100) == {"lora": 0.2, "bitfit": 0.02, "full": 0.001}
    assert rates(101) == {"lora": 0.1, "full": 0.001}
    assert settle.rates_of(table, "pretrain", 10) == {}


def test_a_method_of_the_same_form_takes_the_rate_and_says_whose(monkeypatch):
    small = {"most_parameters": 10, "rates": {"rl": {"lora": {"rate": 0.5, "origin": "here"}}}}
    middle = {"most_parameters": 100, "rates": {}, "unlearned": {"sft": {"dora": {"why": "at no rate"}}}}
    both = {"lora": {"rate": 0.1, "origin": "paper"}, "dora": {"rate": 0.2, "origin": "its own"}}
    published = {"classify": both, "sft": {"lora": both["lora"]}}
    monkeypatch.setattr(settle, "learning_rates", lambda: {"small": small, "middle": middle, "published": published})
    recipe = settle.settle_rate(load({"stage": "rl"}), (DoRA(),), 10)
    told = "auto: lora's, whose form it has; not measured"
    assert (recipe.training.learning_rate, recipe.origin("training.learning_rate")) == (0.5, told)
    assert settle.settle_rate(load({"stage": "classify"}), (DoRA(),), 100).training.learning_rate == 0.2
    with pytest.raises(Refusal, match=r"dora at stage sft \(at no rate\)"):
        settle.settle_rate(load({}), (DoRA(),), 100)
    with pytest.raises(Refusal, match="no rate is known for bitfit"):
        settle.settle_rate(load({"stage": "rl"}), (BitFit(),), 10)


def test_whose_rate_is_taken_was_measured_to_be_near():
    """Within a factor of three wherever both were measured, and measured together somewhere."""
    table, kin = settle.learning_rates(), {name: cls.rate_of for name, cls in methods().items() if cls.rate_of}
    assert kin
    for name, of in kin.items():
        both = [
            rates for size in ("small", "middle") for rates in table[size]["rates"].values() if {name, of} <= {*rates}
        ]
        assert both
        assert all(1 / 3 < rates[name]["rate"] / rates[of]["rate"] < 3 for rates in both)


@pytest.mark.parametrize("stage", ["preference", "rl", "reward"])
def test_dora_has_a_rate_at_every_stage_that_aligns(stage):
    for size in (1_000_000, 20_000_000, 7_000_000_000):
        told = settle.settle_rate(load({"stage": stage}), (DoRA(),), size).origin("training.learning_rate")
        assert told == "auto: lora's, whose form it has; not measured"


def test_every_method_has_a_rate_for_tuning_a_model_of_any_size():
    table = settle.learning_rates()
    small = {method for part in ("rates", "unlearned") for method in table["small"][part]["sft"]}
    assert set(table["published"]["sft"]) == small == set(methods())


def test_a_method_that_learned_nothing_has_no_measured_rate_and_the_refusal_says_so(monkeypatch):
    unlearned = {"classify": {"lora": {"why": "at none of 3 rates"}}}
    middle = {"most_parameters": 100, "rates": {"classify": {}}, "unlearned": unlearned}
    table = {"small": {"most_parameters": 10, "rates": {}}, "middle": middle, "published": {}}
    monkeypatch.setattr(settle, "learning_rates", lambda: table)
    recipe = load({"stage": "classify"})
    with pytest.raises(Refusal, match=r"no rate is known for lora at stage classify \(at none of 3 rates\); give one"):
        settle.settle_rate(recipe, (LoRA(),), 100)
    with pytest.raises(Refusal, match="at stage classify; give one with --lr"):
        settle.settle_rate(recipe, (LoRA(),), 101)
    table["published"] = {"classify": {"lora": {"rate": 0.1, "origin": "paper"}}}
    assert settle.settle_rate(recipe, (LoRA(),), 100).training.learning_rate == 0.1


def test_micro_batches_fill_the_device_and_no_more():
    recipe = load({"data": {"max_length": 512}, "training": {"batch_size": 32}})
    cpu, cuda = find_device("cpu"), devices()["a100-80gb"]
    small = make("llama", meta=True)
    large = make("llama", meta=True, vocab_size=400_000, hidden_size=128)
    assert settle.settle_micro_batch(recipe, cpu, 1000, small).training.micro_batch_size == 8
    assert settle.settle_micro_batch(recipe, cpu, 3, small).training.micro_batch_size == 3
    assert settle.settle_micro_batch(recipe, cpu, 1000, large).training.micro_batch_size == 2
    assert settle.settle_micro_batch(recipe, cuda, 1000, large).training.micro_batch_size == 32


def test_the_gpu_that_is_named_bounds_the_micro_batch_of_a_large_model():
    """7B in 16 bit: 13.5 GB of weights, 48 x 4096 x 32 = 6.3 MB of activations a token; 70% of the room beside them."""
    recipe = load({"data": {"max_length": 1024}, "training": {"batch_size": 32}})
    shape = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "vocab_size": 32000}
    with torch.device("meta"):
        seven = LlamaForCausalLM(LlamaConfig(**shape)).bfloat16()
    rows = {
        name: settle.settle_micro_batch(recipe, devices()[name], 1000, seven).training.micro_batch_size
        for name in ("t4", "rtx-4090", "a100-40gb", "a100-80gb")
    }
    assert rows == {"t4": 1, "rtx-4090": 1, "a100-40gb": 3, "a100-80gb": 7}

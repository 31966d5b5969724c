"""New tokens under methods: only their rows train, the adapter brings them along, the base stays what it was."""

import json

import pytest
import torch
from tests.methods.cases import loss_of, refusal_of
from tests.zoo import batch, make, tiny_model_folder
from transformers import AutoModelForCausalLM, AutoTokenizer

import accorda
from accorda.errors import Refusal
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.install import freeze, install, own_tensors, remove, trainable
from accorda.methods.merging import merge
from accorda.methods.open import load_model, load_tokenizer
from accorda.methods.prepare import prepare
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.routing import use
from accorda.methods.selective.full import Full
from accorda.methods.selective.layernorm import LayerNorm
from accorda.methods.selective.rows import Rows
from accorda.methods.storage import companions, load_adapter, read_header, save_adapter, save_model
from accorda.methods.vocabulary import add_tokens, new_rows, with_new_rows
from accorda.models.vocabulary import added_tokens

NEW = ["<ticket>", "<done>"]
IDS = {"input_ids": torch.tensor([[5, 320, 7, 9, 321, 11]])}


def trained(folder, *methods):
    """A grown model after three steps, and its tokenizer."""
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    rows = add_tokens(model, tokenizer, NEW)
    torch.manual_seed(0)
    install(freeze(model), (*methods, rows))
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=0.05, weight_decay=0.0)
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(model, IDS).backward()
        optimizer.step()
    return model, tokenizer


def say(model):
    with torch.no_grad():
        return model(**IDS).logits


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi"])
def test_only_the_new_rows_train(architecture, tmp_path):
    folder = tiny_model_folder(tmp_path, architecture)
    model, _ = trained(folder)
    assert sum(p.numel() for p in trainable(model).values()) == (2 if architecture == "gpt2" else 4) * 32
    merged, base = merge(model), load_model(folder)
    for now, old in (
        (merged.get_input_embeddings(), base.get_input_embeddings()),
        (merged.get_output_embeddings(), base.get_output_embeddings()),
    ):
        known, fresh = [*range(320), *range(322, 328)], [320, 321]
        assert torch.equal(now.weight[known], old.weight[known])
        assert (now.weight[fresh] - old.weight[:320].mean(0)).abs().max() > 0.05
    rest = {name for name in base.state_dict() if "embed" not in name and "wte" not in name and "head" not in name}
    assert all(torch.equal(merged.state_dict()[name], base.state_dict()[name]) for name in rest)


@pytest.mark.parametrize("rows", [0, 8])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_adapter_brings_the_tokens_along(architecture, rows, tmp_path):
    """With and without spare rows in the base, which is never written to."""
    folder = tiny_model_folder(tmp_path, architecture)
    if not rows:
        bare = make(architecture, vocab_size=320)
        bare.save_pretrained(folder)
    model, tokenizer = trained(folder, LoRA(rank=2))
    save_adapter(model, tmp_path / "adapter", beside=companions(tokenizer))
    header = read_header(tmp_path / "adapter")
    untouched = load_model(folder)
    assert header["base"] == untouched.accorda_fingerprint
    assert header["added_tokens"] == {"tokens": NEW, "ids": [320, 321], "num_rows": 328 if rows else 384}
    again = load_model(tmp_path / "adapter")
    assert torch.equal(say(again), say(model))
    assert load_tokenizer(tmp_path / "adapter")("x<ticket>y")["input_ids"][-2] == 320
    here = load_adapter(freeze(untouched), tmp_path / "adapter", "mine")
    assert torch.equal(say(here), say(model))
    assert own_tensors(here, "mine").keys() == own_tensors(model, "default").keys()


def test_off_and_removed_the_known_rows_are_the_bases(tmp_path):
    folder = tiny_model_folder(tmp_path, "llama")
    model, _ = trained(folder, LoRA(rank=2))
    known = {"input_ids": torch.tensor([[5, 6, 7]])}
    with torch.no_grad():
        base, tuned = load_model(folder)(**known).logits[..., :320], say(model)
        with use(model):
            assert torch.equal(model(**known).logits[..., :320], base)
            off = say(model)
        remove(model, "default")
        assert torch.equal(model(**known).logits[..., :320], base)
    assert torch.equal(say(model), off)  # the rows stay, at the mean
    assert not torch.equal(off, tuned)
    assert added_tokens(model).tokens == tuple(NEW)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_merged_it_is_a_model_of_plain_transformers(architecture, tmp_path):
    model, tokenizer = trained(tiny_model_folder(tmp_path, architecture), LoRA(rank=2))
    tuned = say(model)
    save_model(merge(model), tokenizer, tmp_path / "merged")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert plain.get_input_embeddings().weight.shape[0] == plain.config.vocab_size == 328
    torch.testing.assert_close(say(plain), tuned, atol=1e-5, rtol=1e-5)
    assert AutoTokenizer.from_pretrained(tmp_path / "merged")("<done>", add_special_tokens=False)["input_ids"] == [321]


def test_on_a_base_in_a_number_format(tmp_path):
    folder = tiny_model_folder(tmp_path, "llama")
    model, tokenizer = load_model(folder, quantization="int8"), load_tokenizer(folder)
    install(freeze(model), (LoRA(rank=2), add_tokens(model, tokenizer, NEW)))
    with torch.no_grad():
        for tensor in trainable(model).values():
            tensor.add_(0.1)
    save_adapter(model, tmp_path / "adapter")
    assert torch.equal(say(load_model(tmp_path / "adapter", quantization="int8")), say(model))


def test_a_model_that_transformers_loaded_tells_its_own_shape_as_its_base(tmp_path):
    folder = tiny_model_folder(tmp_path, "llama")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    install(freeze(model), accorda.add_tokens(model, tokenizer, [*NEW, *(f"<{n}>" for n in range(9))]))
    save_adapter(model, tmp_path / "adapter")
    assert load_model(tmp_path / "adapter").config.vocab_size == 336


def test_a_file_that_does_not_fit_leaves_the_base_as_it_was(tmp_path):
    folder = tiny_model_folder(tmp_path, "llama")
    bare = make("llama", vocab_size=320)
    bare.save_pretrained(folder)
    model, _ = trained(folder)
    save_adapter(model, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    content = json.loads(path.read_text())
    content["accorda"]["methods"][0]["index"] = [320]
    path.write_text(json.dumps(content))
    base = load_model(folder)
    with pytest.raises(Refusal, match="shape"):
        load_adapter(freeze(base), tmp_path / "adapter")
    assert base.config.vocab_size == base.get_input_embeddings().weight.shape[0] == 320
    assert added_tokens(base) is None
    content["accorda"]["added_tokens"]["ids"] = [320, 999]
    path.write_text(json.dumps(content))
    with pytest.raises(Refusal, match="ids"):
        load_adapter(base, tmp_path / "adapter")


def test_two_adapters_share_tokens_or_are_refused(tmp_path):
    folder = tiny_model_folder(tmp_path, "llama")
    model, tokenizer = trained(folder)
    save_adapter(model, tmp_path / "one")
    load_adapter(model, tmp_path / "one", "second")
    with use(model, "second"):
        assert torch.equal(say(model), say(load_model(tmp_path / "one")))
    other = load_model(folder)
    install(freeze(other), add_tokens(other, load_tokenizer(folder), ["<other>"]))
    save_adapter(other, tmp_path / "two")
    assert "given the tokens '<ticket>', '<done>'" in refusal_of(lambda: load_adapter(model, tmp_path / "two", "third"))
    assert "all tokens at once" in refusal_of(lambda: add_tokens(model, tokenizer, ["<more>"]))
    whole = install(freeze(load_model(folder)), Full(), "whole")
    assert "'whole' trains model.embed_tokens.weight whole" in refusal_of(
        lambda: load_adapter(whole, tmp_path / "one", "mine")
    )


def test_what_trains_beside_a_method(tmp_path):
    folder = tiny_model_folder(tmp_path, "llama")
    model = load_model(folder)
    assert with_new_rows(model, (LoRA(),)) == (LoRA(),)
    rows = add_tokens(model, load_tokenizer(folder), NEW)
    assert rows == new_rows(model)
    for method in (LoRA(), LayerNorm(), PromptTuning(), Rows(target_modules="mlp.up", choose="largest", num_rows=8)):
        assert with_new_rows(model, (method,)) == (method, rows)
    assert with_new_rows(model, (Rows(),)) == with_new_rows(model, (rows,)) == (rows,)
    assert with_new_rows(model, (prepare(model, Rows(), [batch("llama")]),)) == (rows,)
    assert with_new_rows(model, (Full(),)) == (Full(),)
    install(freeze(model), (PromptTuning(num_virtual_tokens=2), rows))
    assert say(model).shape == (1, 6, 328)

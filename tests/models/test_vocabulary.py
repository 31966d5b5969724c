"""Growing a vocabulary: rows at the mean, known rows bit for bit, ties kept, ids and refusals of the tokenizer."""

import pytest
import torch
from tests.zoo import ARCHITECTURES, make, tiny_tokenizer

from accorda.errors import Refusal
from accorda.models.vocabulary import AddedTokens, add_to_tokenizer, added_tokens, grow

NEW = ("<ticket>", "<order 7>")


def added(ids, num_rows):
    return AddedTokens(tokens=tuple(f"<{number}>" for number in ids), ids=tuple(ids), num_rows=num_rows)


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if "gemma2" not in name])
def test_new_rows_are_the_mean_and_known_ones_keep_every_bit(architecture):
    model, base = make(architecture), make(architecture)
    grow(model, added((67, 68), 70))
    weight, old = model.get_input_embeddings().weight, base.get_input_embeddings().weight
    assert weight.shape == (70, 32)
    assert torch.equal(weight[:67], old)
    naive = sum(row.double() for row in old) / 67
    for row in weight[67:]:
        torch.testing.assert_close(row, naive.float(), atol=0, rtol=1e-6)
    head, tied = model.get_output_embeddings(), base.get_output_embeddings().weight is old
    assert (head.weight is weight) == tied
    assert torch.equal(head.weight[:67], base.get_output_embeddings().weight)
    assert (model.config.vocab_size, head.out_features) == (70, 70)
    if head.bias is not None:
        torch.testing.assert_close(head.bias[67:], base.get_output_embeddings().bias.mean().expand(3))


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi", "bert", "t5", "bart"])
def test_says_the_same_of_known_tokens_and_new_ones_take_little(architecture):
    """No probability falls by a factor of more than 1 + n / V."""
    model, base = make(architecture), make(architecture)
    inputs = {"input_ids": torch.tensor([[3, 4, 5]])}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = inputs["input_ids"]
    grow(model, added((67, 68, 69), 70))
    with torch.no_grad():
        now, before = model(**inputs).logits, base(**inputs).logits
        torch.testing.assert_close(now[..., :67], before, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(now[..., 67:], before.mean(-1, keepdim=True).expand(1, 3, 3), atol=1e-5, rtol=1e-5)
        lost = before.log_softmax(-1) - now[..., :67].log_softmax(-1)
    assert float(lost.max()) <= torch.log(torch.tensor(1 + 3 / 67)) + 1e-6


def test_spare_rows_are_used_first_and_other_spare_ones_left_alone():
    model, base = make("llama"), make("llama")
    grow(model, added((60, 61), 67))
    for now, old in (
        (model.model.embed_tokens.weight, base.model.embed_tokens.weight),
        (model.lm_head.weight, base.lm_head.weight),
    ):
        torch.testing.assert_close(now[60], old[:60].mean(0), atol=1e-6, rtol=1e-5)
        assert torch.equal(now[60], now[61])
        assert torch.equal(now[:60], old[:60])
        assert torch.equal(now[62:], old[62:])


def test_there_is_a_way_back():
    model = make("bart")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    back = grow(model, added((67,), 68))
    assert model.final_logits_bias.shape == (1, 68)
    back()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.config.vocab_size == 67
    assert added_tokens(model) is None


@pytest.mark.parametrize(("rows", "expected"), [(320, 384), (322, 322), (321, 322), (328, 328), (256, 384), (300, 324)])
def test_rows_stay_as_aligned_as_they_were(rows, expected):
    """320 is a multiple of 64, 300 of 4, 321 of nothing; 328 has spare rows enough, 256 too few for known tokens."""
    model = make("llama", vocab_size=rows)
    assert add_to_tokenizer(tiny_tokenizer(), NEW, model, "tokens").num_rows == expected


def test_the_tokenizer_finds_new_tokens_verbatim_in_any_text():
    tokenizer = tiny_tokenizer()
    found = add_to_tokenizer(tokenizer, NEW, make("llama", vocab_size=328), "tokens")
    assert found.ids == (320, 321)
    ids = tokenizer("a <ticket>b<order 7>")["input_ids"]
    assert [number for number in ids if number >= 320] == [320, 321]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a <ticket>b<order 7>"


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (("<new>", "</s>"), r"model\.added_tokens: '</s>' is a token already \(id 2\).*method\.index = \[2\]"),
        (("a",), "'a' is a token already"),
        (("<new>", "<new>"), "'<new>' is named twice"),
        ((" ",), "' ' is no token"),
    ],
)
def test_refuses_what_is_no_new_token(tokens, says):
    tokenizer = tiny_tokenizer()
    with pytest.raises(Refusal, match=says):
        add_to_tokenizer(tokenizer, tokens, make("llama", vocab_size=328), "model.added_tokens")
    assert len(tokenizer) == 320


@pytest.mark.parametrize("broken", [{"ids": (70, 71)}, {"ids": (-1,)}, {"ids": ()}])
def test_refuses_a_recipe_that_does_not_add_up(broken):
    with pytest.raises(ValueError, match="ids"):
        AddedTokens(**{"tokens": ("<new>",), "ids": (69,), "num_rows": 70} | broken)

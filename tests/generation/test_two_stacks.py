"""Encoder-decoders write what transformers' own `generate` writes, in a batch as alone, whatever is installed."""

import pytest
import torch
from tests.zoo import ENCODER_DECODERS, make, randomise, tiny_tokenizer

from accorda.errors import Refusal
from accorda.generation.sample import generate, stream
from accorda.generation.stopping import stop_ids
from accorda.generation.streaming import Stream
from accorda.methods.install import freeze, install, trainable
from accorda.methods.registry import read
from accorda.methods.routing import use
from accorda.models.attention import use_attention

PROMPTS = [[5, 9, 4, 2], [7] * 9, [3, 8, 2], [11]]
METHODS = [
    {"name": "lora", "rank": 2},
    {"name": "prompt_tuning", "num_virtual_tokens": 3},
    {"name": "bitfit"},
    {"name": "attention_fusion"},
    {"name": "layernorm"},
    {"name": "full"},
]


@pytest.fixture(params=ENCODER_DECODERS)
def model(request):
    made = make(request.param, seed=1)
    made.generation_config.forced_eos_token_id = None  # transformers would end a cut answer with it
    use_attention(made)
    return made


def theirs(model, prompt, number=12):
    """What transformers writes behind one prompt, alone, greedily."""
    ids = torch.tensor([prompt])
    found = model.generate(input_ids=ids, max_new_tokens=number, do_sample=False, eos_token_id=2, pad_token_id=0)
    return found[0][1:].tolist()


def test_a_batch_writes_what_transformers_writes_for_each_row(model):
    for row, prompt in zip(generate(model, PROMPTS, max_new_tokens=12, stop_ids=[2]), PROMPTS, strict=True):
        assert row.token_ids == theirs(model, prompt)
        assert row.stopped == (row.token_ids[-1] == 2)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_is_the_same_in_every_batch(model, temperature):
    settings = {"max_new_tokens": 9, "stop_ids": range(2, 20), "temperature": temperature, "top_k": 20}
    together = generate(model, PROMPTS, **settings)
    pairs = generate(model, PROMPTS, **settings, batch_size=2)
    assert [row.token_ids for row in together] == [row.token_ids for row in pairs]
    alone = generate(model, PROMPTS[:1], **settings)[0]
    assert alone.token_ids == together[0].token_ids
    assert alone.log_probs == pytest.approx(together[0].log_probs, abs=1e-5)
    assert len({len(row.token_ids) for row in together}) > 1  # rows left the batch while others went on


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["name"])
def test_under_every_kind_of_method(model, method):
    install(freeze(model), read(method))
    randomise(model, seed=3)
    for row, prompt in zip(generate(model, PROMPTS, max_new_tokens=8, stop_ids=[2]), PROMPTS, strict=True):
        assert row.token_ids == theirs(model, prompt, 8)


def test_each_row_under_its_own_adapter(model):
    freeze(model)
    for name, width in (("one", 2), ("two", 4)):
        install(model, read({"name": "prompt_tuning", "num_virtual_tokens": width}), name)
    for parameter in trainable(model).values():
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    names = ["one", None, "two", "one"]
    if model.config.model_type == "bart":  # it counts positions inside, so rows need prompts of one length
        names = ["one"] * 4
    with use(model, rows=names):
        together = generate(model, PROMPTS, max_new_tokens=6, stop_ids=())
    for name, prompt, row in zip(names, PROMPTS, together, strict=True):
        with use(model, name):
            assert generate(model, [prompt], max_new_tokens=6, stop_ids=())[0].token_ids == row.token_ids


def test_a_forced_first_token_is_taken_and_the_beginning_of_text_ends_nothing(model):
    model.generation_config.forced_bos_token_id = 1
    assert stop_ids(model, tiny_tokenizer()) == {2}
    for row, prompt in zip(generate(model, PROMPTS, max_new_tokens=6), PROMPTS, strict=True):
        assert row.token_ids == theirs(model, prompt, 6)
        assert row.token_ids[0] == 1


def test_a_stream_is_the_answer_piece_by_piece(model):
    tokenizer = tiny_tokenizer()
    whole = generate(model, PROMPTS[:1], tokenizer=tokenizer, max_new_tokens=20, stop_ids=[2])[0]
    told = Stream(stream(model, PROMPTS[0], max_new_tokens=20, stop_ids=[2]), tokenizer, (), stop_ids=frozenset([2]))
    assert "".join(told) == whole.text
    assert told.completion.token_ids == whole.token_ids


def test_prompt_and_answer_have_positions_of_their_own():
    model = make("bart")  # 64 learned positions on either side, one of which the start token takes
    found = generate(model, [[5] * 64, [7] * 3], max_new_tokens=80, stop_ids=())
    assert [len(row.token_ids) for row in found] == [63, 63]
    with pytest.raises(Refusal, match=r"prompts\[0\]: 65 tokens, but the model's context holds 64"):
        generate(model, [[5] * 65])
    assert len(generate(make("t5"), [[5] * 100], max_new_tokens=70, stop_ids=())[0].token_ids) == 70


def test_the_encoder_reads_once_and_every_step_feeds_one_token(model):
    read_, fed = [], []
    model.get_encoder().register_forward_hook(lambda *_: read_.append(1))
    decoder = model.get_decoder()
    decoder.register_forward_pre_hook(lambda m, a, given: fed.append(tuple(given["input_ids"].shape)), with_kwargs=True)
    generate(model, PROMPTS, max_new_tokens=4, stop_ids=())
    assert read_ == [1]
    assert fed == [(4, 1)] * 4

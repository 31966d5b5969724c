"""Texts and conversations become prompts through the renderer, and completions come back as text."""

import pytest
from tests.zoo import make, tiny_tokenizer

from accorda.data.renderer import Renderer
from accorda.errors import Refusal
from accorda.generation import sample
from accorda.generation.text import generate

CHAT = [{"role": "user", "content": "Who?"}]


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def model():
    return make("llama", vocab_size=320, max_position_embeddings=256)


def fed(model, tokenizer, prompts, **more):
    """What generate fed to the model for these prompts, and what came back."""
    seen = []
    handle = model.model.register_forward_pre_hook(
        lambda module, args, given: seen.append(given["input_ids"]), with_kwargs=True
    )
    try:
        completions = generate(model, tokenizer, prompts, max_new_tokens=1, stop_ids=(), batch_size=1, **more)
    finally:
        handle.remove()
    return [ids[0].tolist() for ids in seen], completions


def test_a_text_is_fed_as_it_is_with_one_beginning(model, tokenizer):
    (ids,), (completion,) = fed(model, tokenizer, "Once upon a time")
    assert ids == tokenizer("Once upon a time").input_ids
    assert ids.count(tokenizer.bos_token_id) == 1
    expected = sample.generate(model, [ids], tokenizer=tokenizer, max_new_tokens=1, stop_ids=())
    assert [completion] == expected


def test_a_conversation_goes_through_the_template_alone_or_among_others(model, tokenizer):
    (ids,), _ = fed(model, tokenizer, CHAT)
    assert tokenizer.decode(ids) == "<s><|user|>\nWho?</s>\n<|assistant|>\n"
    both, completions = fed(model, tokenizer, [CHAT, "Who?"])
    assert ids in both
    assert len(completions) == 2


def test_a_bare_text_is_what_a_user_says_to_a_renderer_of_conversations(model, tokenizer):
    renderer = Renderer(tokenizer, kind="messages")
    assert fed(model, tokenizer, ["Who?"], renderer=renderer)[0] == fed(model, tokenizer, [CHAT])[0]


class Closing(Renderer):
    """A renderer whose template ends turns with these ids."""

    stop_ids: tuple[int, ...] = ()


def test_end_of_turn_and_end_of_text_stop_it(model, tokenizer):
    free = generate(model, tokenizer, "Once", max_new_tokens=12, stop_ids=())[0].token_ids
    first, second = sorted((free.index(token), token) for token in set(free))[1:3]
    other = tiny_tokenizer()
    other.eos_token = tokenizer.convert_ids_to_tokens(second[1])
    told = generate(model, other, "Once", max_new_tokens=12, renderer=Renderer(tokenizer))[0]
    assert (told.token_ids, told.stopped) == (free[: second[0] + 1], True)
    renderer = Closing(tokenizer)
    renderer.stop_ids = (first[1],)
    told = generate(model, other, "Once", max_new_tokens=12, renderer=renderer)[0]
    assert (told.token_ids, told.stopped) == (free[: first[0] + 1], True)


def test_what_is_no_prompt_is_refused_with_its_place(model, tokenizer):
    with pytest.raises(Refusal, match=r"prompts\[1\] = 3"):
        generate(model, tokenizer, ["a", 3])
    with pytest.raises(Refusal, match=r"prompts\[0\]: .*role"):
        generate(model, tokenizer, [[{"role": "queen", "content": "a"}]])
    with pytest.raises(Refusal, match=r"prompts\[0\] = \[\]"):
        generate(model, tokenizer, [[]])
    assert generate(model, tokenizer, []) == []

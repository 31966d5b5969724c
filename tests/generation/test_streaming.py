"""A stream shows what `generate` gives, cut up, and never half a character."""

import random

import pytest
from tests.zoo import make, tiny_tokenizer

from accorda.generation.sample import generate, stream
from accorda.generation.streaming import Stream
from accorda.generation.words import BROKEN, Words, decoded, unfinished, words_behind
from accorda.models.load import load_tokenizer

TEXTS = ("Perché? Città, è già lì.", "ウソ 日本語", "a😀b👩‍👧‍👦 🇮🇹", "  two  spaces\n\n\ttab", " .", "naïve — “quoted”")


@pytest.fixture(scope="module", params=["bytes", "sentencepiece"])
def tokenizer(request):
    """Both ways in which characters fall apart into tokens: byte-level BPE, and bytes where no piece fits."""
    if request.param == "bytes":
        return tiny_tokenizer()
    return load_tokenizer(request.getfixturevalue("stories"))


def pieces(tokenizer, prompt, ids):
    words = Words(tokenizer, prompt)
    return [*map(words.feed, ids), words.close()]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("before", ["", "Once upon", "città ", "日"])
def test_pieces_join_to_the_text_and_hold_whole_characters(text, before, tokenizer):
    prompt = tokenizer(before).input_ids
    ids = tokenizer(text, add_special_tokens=False).input_ids
    found = pieces(tokenizer, prompt, ids)
    whole = decoded(tokenizer, [*prompt[-8:], *ids])
    assert "".join(found) == whole[len(decoded(tokenizer, prompt[-8:])) :] == words_behind(tokenizer, prompt, ids)
    assert BROKEN not in "".join(found)
    assert found[-1] == ""


def test_a_character_in_four_tokens_comes_with_the_last(tokenizer):
    ids = tokenizer("😀", add_special_tokens=False).input_ids[-4:]
    assert pieces(tokenizer, [], ids) == ["", "", "", "😀", ""]


def test_half_a_character_at_the_end_is_shown_as_broken_and_spoils_nothing_before_it(tokenizer):
    ids = tokenizer("日本", add_special_tokens=False).input_ids[:-1]
    found = pieces(tokenizer, [], ids)
    assert "".join(found).strip(f" {BROKEN}") == "日"
    assert found[-1].startswith(BROKEN)
    assert words_behind(tokenizer, [], ids) == "".join(found)


def test_any_ids_at_all_give_the_same_text_both_ways(tokenizer):
    draw = random.Random(3)
    for _ in range(300):
        ids = [draw.randrange(len(tokenizer)) for _ in range(draw.randrange(1, 40))]
        cut = draw.randrange(len(ids))
        assert "".join(pieces(tokenizer, ids[:cut], ids[cut:])) == words_behind(tokenizer, ids[:cut], ids[cut:])


@pytest.mark.parametrize(
    ("text", "stops", "size"), [("ab", ["bc"], 1), ("ab", ["abc", "b!"], 2), ("ab", ["c"], 0), ("", ["c"], 0)]
)
def test_the_beginning_of_a_stop_text_waits(text, stops, size):
    assert unfinished(text, stops) == size


SETTINGS = ({"max_new_tokens": 40}, {"max_new_tokens": 40, "temperature": 1.5, "top_k": 50, "seed": 3})


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_stream_is_what_generate_gives(settings):
    model, tokenizer = make("llama", vocab_size=320, max_position_embeddings=256), tiny_tokenizer()
    prompt = tokenizer("Once upon a time").input_ids
    (free,) = generate(model, [prompt], tokenizer=tokenizer, stop_ids=(), **settings)
    letters = next(free.text[at : at + 2] for at in range(3, len(free.text)) if BROKEN not in free.text[at : at + 2])
    for stop_ids, stop_texts in (((), ()), ((free.token_ids[9],), ()), ((), (letters, "never"))):
        asked = {"tokenizer": tokenizer, "stop_ids": stop_ids, "stop_texts": stop_texts, **settings}
        (expected,) = generate(model, [prompt], **asked)
        tokens = stream(model, prompt, **asked)
        told = Stream(tokens, tokenizer, prompt, stop_ids=frozenset(stop_ids), stop_texts=stop_texts)
        assert "".join(told) == expected.text
        found = told.completion
        assert (found.token_ids, found.text, found.stopped) == (expected.token_ids, expected.text, expected.stopped)
        assert found.log_probs == pytest.approx(expected.log_probs, abs=1e-5)


def test_whoever_stops_reading_keeps_what_was_said():
    model, tokenizer = make("llama", vocab_size=320, max_position_embeddings=256), tiny_tokenizer()
    model.train()
    prompt = tokenizer("Once upon a time").input_ids
    told = Stream(stream(model, prompt, stop_ids=(), max_new_tokens=40), tokenizer, prompt)
    read = [piece for piece, _ in zip(told, range(3), strict=False)]
    assert not model.model.layers[0].training
    told.close()
    assert model.model.layers[0].training
    assert told.completion.text.startswith("".join(read))
    assert 3 <= len(told.completion.token_ids) < 40
    assert not told.completion.stopped

"""What ends a completion, on real weights: stop ids from every source, stop texts, and the text that remains."""

import pytest
from tests.zoo import make, tiny_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from accorda.errors import Refusal
from accorda.generation.sample import generate, stream
from accorda.generation.stopping import stop_ids
from accorda.generation.words import cut_at, words_behind

STORY = (
    ", there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball."
    " She wanted to play with it, but it was too high.\n"
)


@pytest.fixture(scope="module")
def model(stories):
    return AutoModelForCausalLM.from_pretrained(stories).eval()


@pytest.fixture(scope="module")
def tokenizer(stories):
    return AutoTokenizer.from_pretrained(stories)


def test_the_story_upstream_tells_and_its_end(model, tokenizer):
    """This model ends its texts with the beginning-of-text token: what follows would be another story."""
    prompt = tokenizer("Once upon a time").input_ids
    story = generate(model, [prompt], tokenizer=tokenizer, max_new_tokens=400)[0]
    assert story.text.startswith(STORY)
    assert story.text.endswith('"Thank you, Lily! You are a good friend."')
    assert story.stopped
    assert story.token_ids[-1] == tokenizer.bos_token_id
    assert len(story.log_probs) == len(story.token_ids) < 400


def test_a_stop_text_ends_the_row_and_is_cut_off_with_what_its_last_token_brought(model, tokenizer):
    prompts = [tokenizer("Once upon a time").input_ids, tokenizer("Tom had a").input_ids]
    found = generate(model, prompts, tokenizer=tokenizer, max_new_tokens=40, stop_texts=["One day", "park. O"])
    assert found[0].text == ", there was a little girl named Lily. She loved to play outside in the "
    assert found[0].stopped
    assert len(found[0].token_ids) < 40 == len(found[1].token_ids)
    assert not found[1].stopped
    told = [
        token.token_id
        for token in stream(
            model, prompts[0], tokenizer=tokenizer, max_new_tokens=40, stop_texts=["One day", "park. O"]
        )
    ]
    assert told == found[0].token_ids


def test_a_stop_token_that_is_a_word_is_no_part_of_the_text(model, tokenizer):
    prompt = tokenizer("Once upon a time").input_ids
    free = generate(model, [prompt], tokenizer=tokenizer, max_new_tokens=20, stop_ids=())[0]
    stop = free.token_ids[9]
    told = generate(model, [prompt], tokenizer=tokenizer, max_new_tokens=20, stop_ids=[stop])[0]
    assert told.token_ids[-1] == stop
    assert told.text == words_behind(tokenizer, prompt, told.token_ids[:-1])
    assert free.text.startswith(told.text)
    assert len(told.text) < len(words_behind(tokenizer, prompt, told.token_ids))


def test_stop_texts_need_a_tokenizer(model):
    with pytest.raises(Refusal, match=r"stop_texts: .*tokenizer"):
        generate(model, [[1]], stop_texts=["."])
    with pytest.raises(Refusal, match=r"stop_texts: .*tokenizer"):
        stream(model, [1], stop_texts=["."])


def test_every_declaration_of_an_end_counts():
    model, tokenizer = make("llama"), tiny_tokenizer()
    model.generation_config.eos_token_id = [11, 12]
    model.config.eos_token_id = 13
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(70)
    assert stop_ids(model) == {1, 11, 12, 13}
    assert stop_ids(model, tokenizer, extra=[17]) == {1, 11, 12, 13, 17, 70}


def test_stop_ids_come_from_the_model_and_the_tokenizer_by_default():
    model, tokenizer = make("llama", vocab_size=320), tiny_tokenizer()
    free = generate(model, [[5, 9]], max_new_tokens=9, stop_ids=())[0].token_ids
    first, second = sorted((free.index(token), token) for token in set(free))[1:3]
    model.generation_config.eos_token_id = first[1]
    assert generate(model, [[5, 9]], max_new_tokens=9)[0].token_ids == free[: first[0] + 1]
    model.generation_config.eos_token_id = None
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(second[1])
    assert generate(model, [[5, 9]], tokenizer=tokenizer, max_new_tokens=9)[0].token_ids == free[: second[0] + 1]
    assert generate(model, [[5, 9]], max_new_tokens=9)[0].token_ids == free


def test_text_keeps_its_first_space_and_broken_characters_do_not_eat_the_rest(tokenizer):
    whole = tokenizer("Once upon a time there").input_ids
    assert words_behind(tokenizer, whole[:3], whole[3:]) == " a time there"
    assert words_behind(tokenizer, [*whole[:3], -1, -2], whole[3:]) == " a time there"
    assert words_behind(tokenizer, whole[:3], [*whole[3:], 1, 2]) == " a time there"
    snowman = tokenizer("a ☃ b").input_ids  # three bytes, three tokens
    place = next(index for index in range(len(snowman)) if tokenizer.decode(snowman[:index]).endswith("�"))
    assert words_behind(tokenizer, snowman[:place], snowman[place:]).endswith(" b")


def test_the_earliest_stop_text_wins():
    assert cut_at("one two three", ["three", "two"]) == "one "
    assert cut_at("one", ["two"]) == "one"

"""Examples in front of a question: which, how they read, and that nothing but the question's answer is measured."""

import numpy as np
import pytest
from tests.zoo import make, tiny_tokenizer

from accorda.data.renderer import Renderer
from accorda.evaluation.fewshot import SEPARATORS, draw, show
from accorda.evaluation.questions import questions
from accorda.evaluation.rows import dataset_of

PLAIN = [{"prompt": f"What is {n}? ", "completion": f"It is {n}."} for n in range(12)]
CHATS = [
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"What is {n}?"},
            {"role": "assistant", "content": f"{n}."},
        ]
    }
    for n in range(12)
]


@pytest.fixture(scope="module")
def renderer():
    return Renderer(tiny_tokenizer())


def dataset(rows, renderer):
    return dataset_of(rows, make("llama", vocab_size=320, max_position_embeddings=512), renderer)


def shown(rows, renderer, number, longest=512, reserve=0, seed=0):
    train = dataset(rows, renderer)
    asked = questions(train, renderer, range(len(train)))
    shots = draw(train, number, asked[0].example.kind, seed)
    return shots, asked, show(shots, asked, renderer, longest, reserve)


def test_plain_examples_read_like_training_rows_with_a_separator(renderer):
    shots, asked, put = shown(PLAIN, renderer, 2)
    first = next(at for at, q in enumerate(asked) if q.example not in shots.examples)
    expected = (
        "".join(f"{shot.prompt}{shot.completion}\n\n" for shot in shots.examples[:2]) + asked[first].example.prompt
    )
    assert put.questions[first].prompt == expected
    assert put.counts == {2: 12}


def test_the_question_itself_is_never_among_its_examples(renderer):
    shots, asked, put = shown(PLAIN, renderer, 3)
    for before, after in zip(asked, put.questions, strict=True):
        assert after.prompt.count(before.prompt) == 1
        assert after.prompt.count("It is") == 3
    assert len(shots.examples) == 4


@pytest.mark.parametrize("rows", [PLAIN, CHATS])
def test_only_the_answer_to_the_question_is_supervised(rows, renderer):
    _, asked, put = shown(rows, renderer, 2)
    for before, after in zip(asked, put.questions, strict=True):
        wanted = before.segment.input_ids[before.segment.supervised]
        assert np.array_equal(after.segment.input_ids[after.segment.supervised], wanted)
        assert after.prompt_ids == after.segment.input_ids[: len(after.prompt_ids)].tolist()
        assert not after.segment.supervised[: len(after.prompt_ids)].any()
        assert after.reference == before.reference


def test_conversations_get_earlier_turns_and_keep_their_one_system_message(renderer):
    _, asked, put = shown(CHATS, renderer, 2)
    for before, after in zip(asked, put.questions, strict=True):
        assert after.prompt.count("Be brief.") == 1
        assert after.prompt.startswith(before.prompt.split("<|user|>")[0])
        assert after.prompt.count("<|user|>") == 3
        assert after.prompt.count("<|assistant|>") == 3


def test_the_same_seed_shows_the_same_examples(renderer):
    train = dataset(PLAIN, renderer)
    assert draw(train, 3, "completion", 1) == draw(train, 3, "completion", 1)
    assert draw(train, 3, "completion", 1) != draw(train, 3, "completion", 2)


def test_a_short_context_gets_fewer_examples_and_is_told(renderer):
    rows = [*PLAIN, {"prompt": "word " * 20, "completion": "yes"}]
    shots, asked, put = shown(rows, renderer, 3, longest=60)
    assert sum(put.counts.values()) == len(asked) == len(put.questions)
    assert len(put.counts) > 1
    for before, after in zip(asked, put.questions, strict=True):
        number = after.prompt.count(shots.separator)
        assert put.counts[number] > 0
        assert len(after.segment) <= 60 or after is before
        if number < 3:  # one more would not have fitted
            longer = renderer.render(shots.before(before.example, number + 1))
            assert len(longer.input_ids) > 60


def test_the_shortest_examples_come_first_so_that_more_questions_get_one(renderer):
    rows = [{"prompt": "What? ", "completion": "word " * (1 + n % 7)} for n in range(20)]
    shots = draw(dataset(rows, renderer), 5, "completion")
    lengths = [len(example.completion) for example in shots.examples]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 1


def test_room_for_the_answer_is_kept_free(renderer):
    _, _, put = shown(PLAIN, renderer, 3, longest=100, reserve=70)
    assert all(len(question.prompt_ids) <= 30 for question in put.questions)
    assert max(put.counts) < 3


def test_the_separator_occurs_in_no_example(renderer):
    rows = [{"prompt": "Write.\n\nNow. ", "completion": f"A\n\nB {n}"} for n in range(4)]
    assert draw(dataset(rows, renderer), 3, "completion").separator == SEPARATORS[1]


def test_texts_have_no_examples(renderer):
    rows = [{"text": f"Once upon a time {n}"} for n in range(4)]
    assert draw(dataset(rows, renderer), 3, "text") is None

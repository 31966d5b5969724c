"""What the formats of comparisons make of rows, and what they refuse."""

import pytest

from accorda.data.example import Example, RowError
from accorda.data.formats.registry import choose
from accorda.data.preferences.columns import FOLDER, suggestion
from accorda.errors import Refusal

USER = {"role": "user", "content": "Sky?"}
BLUE, GREEN = ({"role": "assistant", "content": colour} for colour in ("Blue.", "Green."))


def parsed(row, **options):
    mapped = choose(row, "f:1", folder=FOLDER, why_not=lambda row: None, suggest=suggestion, **options)
    return mapped.name, mapped.parse(row)


def asked(example: Example):
    return example.prompt if example.prompt is not None else [(m.role, m.content) for m in example.messages]


TALK = [("user", "Sky?")]


@pytest.mark.parametrize(
    ("row", "question"),
    [
        ({"prompt": "Sky?", "chosen": "Blue.", "rejected": "Green."}, "Sky?"),
        ({"prompt": [USER], "chosen": [BLUE], "rejected": [GREEN]}, TALK),
        ({"prompt": [USER], "chosen": "Blue.", "rejected": "Green."}, TALK),
        ({"prompt": "Sky?", "chosen": [BLUE], "rejected": [GREEN]}, TALK),
        ({"chosen": [USER, BLUE], "rejected": [USER, GREEN]}, TALK),
        ({"prompt": "Sky?", "chosen": [USER, BLUE], "rejected": [USER, GREEN]}, TALK),
        ({"instruction": "Sky?", "input": "", "chosen": "Blue.", "rejected": "Green."}, TALK),
        (
            {
                "conversations": [{"from": "human", "value": "Sky?"}],
                "chosen": {"from": "gpt", "value": "Blue."},
                "rejected": {"from": "gpt", "value": "Green."},
            },
            TALK,
        ),
    ],
)
def test_pairs_in_every_spelling(row, question):
    name, example = parsed(row)
    assert (name, asked(example)) == ("pairs", question)
    assert [answer.content for answer in example.answers] == ["Blue.", "Green."]
    assert example.ranks == (0, 1)
    assert Example.from_dict(example.to_dict()) == example


def test_an_implicit_prompt_ends_where_the_answers_begin_to_differ():
    _, example = parsed({"chosen": "The sky is blue.", "rejected": "The sky is grey."})
    assert asked(example) == "The sky is"
    assert [answer.content for answer in example.answers] == [" blue.", " grey."]
    talk = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Sky?\n\nAssistant:"
    _, example = parsed({"chosen": f"{talk} I say blue", "rejected": f"{talk} I say green"})
    assert asked(example) == talk
    assert [answer.content for answer in example.answers] == [" I say blue", " I say green"]


def test_rankings_by_ranks_or_scores_with_ties():
    name, example = parsed({"prompt": "Sky?", "completions": ["a", "b", "c"], "ranks": [2, 1, 2]})
    assert (name, example.ranks) == ("ranked", (1, 0, 1))
    _, example = parsed({"prompt": [USER], "completions": ["a", "b", "c"], "scores": [0.5, 9, 4]})
    assert (example.ranks, asked(example)) == ((2, 0, 1), TALK)


@pytest.mark.parametrize(
    ("row", "question"),
    [
        ({"prompt": "Sky?", "completion": "Blue.", "label": True}, "Sky?"),
        ({"prompt": [USER], "completion": [BLUE], "label": "true"}, TALK),
        ({"messages": [USER, BLUE], "label": 1}, TALK),
    ],
)
def test_thumbs(row, question):
    name, example = parsed(row)
    assert (name, asked(example), example.ranks) == ("thumbs", question, (0,))
    assert parsed(row | {"label": False})[1].ranks == (1,)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": "Blue.", "rejected": "Green."}, "nothing says what was asked"),
        ({"chosen": [BLUE], "rejected": [GREEN]}, "nothing says what was asked"),
        ({"prompt": "Sky?", "chosen": "Blue.", "rejected": " "}, "empty answer"),
        ({"chosen": [USER, BLUE], "rejected": [USER, USER, GREEN]}, "differ before their last messages"),
        ({"prompt": "Sea?", "chosen": [USER, BLUE], "rejected": [USER, GREEN]}, "'prompt' is none of their messages"),
        ({"prompt": [USER], "chosen": [BLUE, USER], "rejected": [GREEN, USER]}, "no single answer"),
        ({"prompt": "Sky?", "chosen": "Blue.", "rejected": "Green.", "margin": "much"}, "'margin' is text"),
        ({"prompt": "Sky?", "completions": ["a", "b"], "ranks": [1, 1]}, "no answer is above another"),
        ({"prompt": "Sky?", "completions": ["a", "b"], "ranks": [1]}, "not a list of 2 numbers"),
        ({"completions": ["a", "b"], "ranks": [1, 2]}, "no column prompt"),
        ({"prompt": "Sky?", "completion": [BLUE], "label": True}, "both are texts, or both messages"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(row, reason):
    with pytest.raises(RowError, match=reason):
        parsed(row)


def test_a_row_of_no_format_is_refused_with_the_columns_that_would_fit():
    with pytest.raises(Refusal, match=r"--column prompt=question --column chosen=answer --column rejected=worse"):
        parsed({"question": "Sky?", "answer": "Blue.", "worse": "Green."})
    columns = {"prompt": "question", "chosen": "answer", "rejected": "worse"}
    name, example = parsed({"question": "Sky?", "answer": "Blue.", "worse": "Green."}, columns=columns)
    assert (name, asked(example)) == ("pairs", "Sky?")


def test_columns_of_stackexchange_are_suggested_with_the_answer_of_more_votes_as_chosen():
    row = {"question": "Sky?", "response_j": "Blue.", "response_k": "Green."}
    with pytest.raises(
        Refusal, match="--column prompt=question --column chosen=response_j --column rejected=response_k"
    ):
        parsed(row)


def test_only_what_reads_as_an_answer_is_proposed():
    row = {"prompt": "Why is it red?", "chosen": "It is hot.", "stars": "4"}
    assert suggestion(row).startswith("--column prompt=prompt --column chosen=chosen --column rejected=COLUMN ")
    assert "--column rejected=worse " in suggestion({**row, "worse": "Nobody knows."})
    assert "--column 'rejected=other one' " in suggestion({**row, "other one": "Nobody knows."})

"""What compared answers can carry: ceilings by hand and by drawing, contradictions, and replies of trees."""

import json

import numpy as np
import pytest

from accorda.data.example import Example, Message
from benchmarks import _carried


def ranked(*answers, ranks, prompt="q"):
    return Example(prompt=prompt, answers=tuple(Message(role="assistant", content=a) for a in answers), ranks=ranks)


def test_ceilings_by_hand():
    assert _carried.ceiling(1.0) == 1.0
    assert _carried.ceiling(0.5) == 0.5
    assert _carried.ceiling(0.82) == pytest.approx(0.9)  # 0.9^2 + 0.1^2: everybody is right nine times in ten
    assert _carried.ceiling(0.49) is None


def test_no_judge_exceeds_the_ceiling_whatever_the_pairs():
    generator = np.random.default_rng(0)
    for shape in (0.2, 1.0, 5.0):
        p = generator.beta(shape, shape, size=1000)
        best = np.maximum(p, 1 - p).mean()
        assert best <= _carried.ceiling(float((p**2 + (1 - p) ** 2).mean())) + 1e-12


@pytest.mark.parametrize(
    ("rows", "share"),
    [
        ([ranked("a", "b", ranks=(0, 1)), ranked("b", "c", ranks=(0, 1))], 1.0),
        ([ranked("a", "b", ranks=(0, 1)), ranked("b", "a", ranks=(0, 1))], 0.5),
        ([ranked("a", "b", ranks=(0, 1)), ranked("b", "a", ranks=(0, 1), prompt="another")], 1.0),
        ([ranked("a", "a", ranks=(0, 1)), ranked("a", "b", ranks=(0, 1))], 0.75),
        ([ranked(*pair, ranks=(0, 1)) for pair in ("ab", "bc", "ca")], 2 / 3),
        ([ranked("a", "b", "c", ranks=(0, 1, 2)), ranked("c", "a", ranks=(0, 1))], 3 / 4),
        ([ranked("a", "b", "c", ranks=(0, 1, 1))], 1.0),
    ],
)
def test_the_best_order_of_answers(rows, share):
    assert _carried.consistent(rows) == pytest.approx(share)


def test_many_answers_are_compared_pair_by_pair():
    names = [chr(97 + number) for number in range(_carried.MOST_ANSWERS + 1)]
    rows = [ranked(*names, ranks=tuple(range(len(names)))), ranked("b", "a", ranks=(0, 1))]
    pairs = len(names) * (len(names) - 1) // 2
    assert _carried.consistent(rows) == pytest.approx(pairs / (pairs + 1))


def test_replies_of_a_tree():
    def reply(text, rank, up, replies=()):
        return {"role": "assistant", "text": text, "rank": rank, "emojis": {"+1": up}, "replies": list(replies)}

    more = {"role": "prompter", "text": "and?", "message_id": "m", "replies": [reply("x", 1, 0), reply("y", 0, 0)]}
    root = {"role": "prompter", "text": "q", "message_id": "r"}
    rows, likes = _carried.ranked_replies(
        [{"prompt": {**root, "replies": [reply("a", 0, 1, [more]), reply("b", 1, 2), reply("c", None, 9)]}}]
    )
    assert [(len(row["messages"]), row["completions"], row["ranks"]) for row in rows] == [
        (1, ["a", "b"], [0, 1]),
        (3, ["x", "y"], [1, 0]),
    ]
    assert likes == [("r", 0.0)]  # the better ranked reply has fewer likes; the other two have as many


def test_real_trees_have_ranks_and_likes_of_the_same_replies(shared):
    file = shared / "data/oasst_trees/en_100_tree.jsonl"
    rows, likes = _carried.ranked_replies(json.loads(line) for line in file.read_text("utf-8").splitlines())
    assert len(rows) > 150
    assert 0.5 < sum(right for _, right in likes) / len(likes) < 1

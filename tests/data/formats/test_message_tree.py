import json

import pytest

from accorda.data.example import Message, RowError
from accorda.data.formats import choose
from accorda.data.formats.message_tree import parse


def node(text, role="assistant", rank=None, replies=(), **more):
    return {"text": text, "role": role, "rank": rank, "replies": list(replies), **more}


def tree(*replies):
    return {"message_tree_id": "t", "tree_state": "ready_for_export", "prompt": node("q", "prompter", replies=replies)}


def texts(row):
    return [message.content for message in choose(row, "f:1").parse(row).messages]


def test_the_reply_of_the_lowest_rank_is_followed_at_every_message():
    deeper = [node("more?", "prompter", 1), node("why?", "prompter", 0, [node("so", rank=1), node("because", rank=0)])]
    row = tree(node("second", rank=1, replies=[node("no", "prompter", 0)]), node("best", rank=0, replies=deeper))
    assert texts(row) == ["q", "best", "why?", "because"]
    assert parse(row).messages[0] == Message(role="user", content="q")


def test_what_does_not_count():
    assert texts(tree(node("gone", rank=0, deleted=True), node("kept", rank=1))) == ["q", "kept"]
    assert texts(tree(node("refused", rank=0, review_result=False), node("kept", rank=1))) == ["q", "kept"]
    assert texts(tree(node("unranked"), node("ranked", rank=2))) == ["q", "ranked"]
    assert texts(tree(node("a", rank=0, replies=[node("left without an answer", "prompter")]))) == ["q", "a"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (tree(), "prompt has no reply to learn"),
        (tree(node("a", "narrator")), r"prompt\.replies\.role is 'narrator', not one of prompter, assistant"),
        (tree({"role": "assistant", "replies": []}), r"prompt\.replies\.text is not text"),
        (tree("a"), r"prompt\.replies is not an object"),
        ({"message_tree_id": "t", "prompt": {**node("q", "prompter"), "replies": 3}}, "replies is not a list"),
    ],
)
def test_what_is_wrong_is_told(row, words):
    with pytest.raises(RowError, match=words):
        parse(row)


def test_real_trees(shared):
    lines = (shared / "data/oasst_trees/en_100_tree.jsonl").read_text(encoding="utf-8").splitlines()
    found = [choose(json.loads(line), "f:1").parse(json.loads(line)) for line in lines]
    assert len(found) == 99
    assert {len(example.messages) for example in found} == {2, 4}
    assert all(example.messages[-1].role == "assistant" for example in found)

"""Rows are recognised, mapped and parsed; what does not fit is told with keys and the way out."""

import json
from typing import Any

import pytest

from accorda.data.example import Example, Message, RowError
from accorda.data.formats import choose, formats
from accorda.errors import Refusal

TURNS = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
SHARED = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
CHAT = (Message(role="user", content="a"), Message(role="assistant", content="b"))
CALL = {"type": "function", "function": {"name": "look", "arguments": {"at": 1}}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}


def parse(row: dict[str, Any], **settings: Any) -> Example:
    return choose(row, "f:1", **settings).parse(row)


def test_the_folder_is_the_registry():
    assert list(formats()) == ["alpaca", "completion", "message_tree", "messages", "sharegpt", "text"]


@pytest.mark.parametrize(
    ("name", "row", "example"),
    [
        ("text", {"text": "a"}, Example(text="a")),
        ("completion", {"prompt": "a", "completion": "b"}, Example(prompt="a", completion="b")),
        ("messages", {"messages": TURNS}, Example(messages=CHAT)),
        ("messages", {"conversations": TURNS, "id": 3}, Example(messages=CHAT)),
        ("sharegpt", {"conversations": SHARED}, Example(messages=CHAT)),
        ("sharegpt", {"messages": SHARED}, Example(messages=CHAT)),
        (
            "alpaca",
            {"instruction": "a", "input": "", "output": "b"},
            Example(messages=(Message(role="user", content="a", extra={"instruction": "a"}), CHAT[1])),
        ),
        (
            "alpaca",
            {"instruction": "a", "input": "x", "output": "b", "system": "s", "history": [["q", "r"]]},
            Example(
                messages=(
                    Message(role="system", content="s"),
                    Message(role="user", content="q"),
                    Message(role="assistant", content="r"),
                    Message(role="user", content="a\n\nx", extra={"instruction": "a", "input": "x"}),
                    CHAT[1],
                )
            ),
        ),
    ],
)
def test_formats_find_themselves(name: str, row: dict[str, Any], example: Example):
    assert choose(row, "f:1").name == name
    assert parse(row) == example == parse(row, name=name)
    assert Example.from_dict(json.loads(example.to_json())) == example


def test_columns_map_any_other_names():
    assert parse({"question": "a", "answer": "b"}, columns={"prompt": "question", "completion": "answer"}) == Example(
        prompt="a", completion="b"
    )
    assert parse({"body": "a", "prompt": "x"}, columns={"text": "body"}) == Example(text="a")
    assert parse({"dialog": SHARED}, columns={"messages": "dialog"}) == Example(messages=CHAT)
    assert parse({"question": "a", "completion": "b"}, columns={"prompt": "question"}) == Example(
        prompt="a", completion="b"
    )
    task = {"task": "a", "context": "c", "response": "b"}
    mapped = parse(task, columns={"instruction": "task", "input": "context", "output": "response"})
    assert mapped.messages[0].content == "a\n\nc"
    swapped = {"prompt": "b", "completion": "a"}
    assert parse(swapped, columns={"prompt": "completion", "completion": "prompt"}) == Example(
        prompt="a", completion="b"
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": None, "completion": "b"}, "'prompt' is null, not text"),
        ({"messages": []}, "'messages' is empty"),
        ({"conversations": "x"}, "'conversations' is text that is no JSON"),
        ({"text": 3}, "'text' is a number, not text"),
        ({"instruction": "a", "output": None}, "'output' is null, not text"),
    ],
)
def test_the_first_row_may_be_a_bad_one_of_a_known_format(row: dict[str, Any], reason: str):
    with pytest.raises(RowError, match=reason):
        parse(row)


def test_a_row_without_a_mapped_column_is_bad():
    mapped = choose({"q": "a", "a": "b"}, "f:1", columns={"prompt": "q", "completion": "a"})
    with pytest.raises(RowError, match=r"no column 'a' \(it has q, x\)"):
        mapped.parse({"q": "a", "x": 1})


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        ({"q": "a", "n": 1}, {}, "f:1: no format fits its columns (q, n); say what they are: --column text=q"),
        (
            {"Question": "a", "Best Answer": "b"},
            {},
            "f:1: no format fits its columns (Question, Best Answer); say what they are: --column prompt=Question "
            "--column 'completion=Best Answer'",
        ),
        (
            {"dialog": TURNS, "n": 1},
            {},
            "f:1: no format fits its columns (dialog, n); say what they are: --column messages=",
        ),
        (
            {"instances": [{"x": 1}]},
            {},
            "f:1: no format fits its columns (instances); say what they are: --column prompt=COL",
        ),
        ({}, {}, "f:1: no format fits its columns (none); say what they are"),
        (
            {"instruction": "a", "output": "b", "text": "c"},
            {},
            "f:1: its columns (instruction, output, text) fit the formats alpaca and text; say which: data.format=alp",
        ),
        (
            {"prompt": "a", "chosen": "b", "rejected": "c"},
            {},
            "f:1: preference rows (chosen, rejected) are for stage: pref",
        ),
        ({"messages": TURNS, "label": False}, {}, "f:1: thumbs up and down"),
        ({"text": "a"}, {"name": "txt"}, "data.format: txt: no such format; formats are auto, alpaca, completion"),
        ({"body": "a"}, {"columns": {"body": "text"}}, "data.columns: body=text: the other way"),
        ({"text": "a"}, {"columns": {"body": "text"}}, "data.columns: body=text: body is none of our fields; fields"),
        (
            {"text": "a"},
            {"columns": {"promt": "text"}},
            "data.columns: promt=text: promt is none of our fields; did you mean prompt?",
        ),
        (
            {"text": "a"},
            {"columns": {"body": "a"}},
            "data.columns: body=a: body is none of our fields; fields are comp",
        ),
        (
            {"message": "a", "summary": "b"},
            {"columns": {"instruction": "message"}},
            "f:1: no format fits its columns (message, summary) with data.columns instruction=message; "
            "alpaca also needs output: --column output=summary",
        ),
        ({"a;b": "c;d"}, {}, "f:1: its one column is called 'a;b', so its values are separated by ';'; save it with"),
        ({"a": "b"}, {"columns": {"text": "c"}}, "f:1: data.columns: no column 'c'; the row has a"),
        (
            {"a": "b", "c": "d"},
            {"columns": {"prompt": "a", "text": "c"}},
            "f:1: no format fits its columns (a, c) with data.columns prompt=a text=c",
        ),
    ],
)
def test_what_is_refused(row: dict[str, Any], settings: dict[str, Any], message: str):
    with pytest.raises(Refusal) as error:
        choose(row, "f:1", **settings)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("text", {"text": " \n"}, "empty text"),
        ("text", {"x": 1}, r"no column 'text' \(it has x\)"),
        ("completion", {"prompt": "a", "completion": " "}, "empty completion"),
        ("completion", {"prompt": None, "completion": "a"}, "'prompt' is null, not text"),
        ("completion", {"prompt": "a", "completion": 4}, "'completion' is a number, not text"),
        ("alpaca", {"instruction": "a", "output": ""}, "empty output"),
        ("alpaca", {"instruction": "a", "output": "b", "history": "x"}, "'history' is text, not a list of pairs"),
        ("alpaca", {"instruction": "a", "output": "b", "history": [["x"]]}, "an entry that is no pair"),
        ("messages", {"messages": []}, "'messages' is empty"),
        ("messages", {"messages": "x"}, "text that is no JSON"),
        ("messages", {"messages": ["x"]}, "'messages' is a list, not a list of objects"),
        ("messages", {"messages": [{"role": "owner"}]}, r"messages\[0\]\.role is 'owner', not one of system"),
        ("messages", {"messages": [{"role": "user", "content": 3}]}, r"messages\[0\]\.content' is a number, not text"),
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
            r"has a part that is no text \(image\)",
        ),
        (
            "messages",
            {"messages": [{"role": "user", "train": True}]},
            r"only assistant turns are learned, not user turns",
        ),
        ("messages", {"messages": [{"role": "assistant", "weight": 0.5}]}, "weight is 0.5, not 0 or 1"),
        ("messages", {"messages": [{"role": "assistant", "train": "no"}]}, "train is 'no', not true or false"),
        ("messages", {"messages": TURNS, "tools": {"a": 1}}, "'tools' is an object, not a list of objects"),
        ("sharegpt", {"conversations": [{"from": "owner", "value": "a"}]}, r"conversations\[0\]\.from is 'owner'"),
        ("sharegpt", {"conversations": [{"from": "gpt", "value": None}]}, r"conversations\[0\]\.value is not text"),
        ("sharegpt", {"conversations": [{"from": "function_call", "value": "{"}]}, "text that is no JSON"),
        (
            "sharegpt",
            {"conversations": [{"from": "function_call", "value": "[3]"}]},
            "a tool call is a number without a name",
        ),
    ],
)
def test_what_is_wrong_with_a_row(name: str, row: dict[str, Any], reason: str):
    with pytest.raises(RowError, match=reason):
        formats()[name].parse(row)


def test_messages_with_everything():
    row = {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "s"}, {"type": "text", "text": "t"}]},
            {"role": "human", "content": "u", "name": "Ann"},
            {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": "1"}], "reasoning_content": "r"},
            {"role": "tool", "content": "7", "tool_call_id": "1"},
            {"role": "assistant", "content": "b", "weight": 0},
            {"role": "assistant", "content": "c", "train": True, "reasoning": "q"},
        ],
        "tools": json.dumps([TOOL["function"]]),
    }
    example = parse(row)
    assert example == Example(
        messages=(
            Message(role="system", content="st"),
            Message(role="user", content="u", extra={"name": "Ann"}),
            Message(role="assistant", tool_calls=({**CALL, "id": "1"},), reasoning="r"),
            Message(role="tool", content="7", extra={"tool_call_id": "1"}),
            Message(role="assistant", content="b", train=False),
            Message(role="assistant", content="c", train=True, reasoning="q"),
        ),
        tools=(TOOL,),
    )
    assert Example.from_dict(json.loads(example.to_json())) == example


def test_a_prompt_and_a_completion_of_messages():
    row = {"prompt": [*TURNS, TURNS[0]], "completion": [TURNS[1]]}
    assert [message.train for message in parse(row).messages] == [None, False, None, None]


def test_sharegpt_calls_and_columns_for_system_and_tools():
    row = {
        "system": "s",
        "conversations": [
            {"from": "human", "value": "a"},
            {"from": "function_call", "value": json.dumps({"name": "look", "arguments": '{"at": 1}'})},
            {"from": "observation", "value": "7"},
            {"from": "gpt", "value": "b", "weight": 1},
        ],
        "tools": "",
    }
    assert parse(row) == Example(
        messages=(
            Message(role="system", content="s"),
            Message(role="user", content="a"),
            Message(role="assistant", tool_calls=(CALL,)),
            Message(role="tool", content="7"),
            Message(role="assistant", content="b", train=True),
        )
    )


def test_messages_held_as_text_in_a_table():
    assert parse({"messages": json.dumps(TURNS)}, name="messages") == Example(messages=CHAT)


def test_half_a_character_is_a_bad_row():
    with pytest.raises(RowError, match=r"half a character \(\\ud83c\)"):
        Example(text="a\ud83c").to_json()

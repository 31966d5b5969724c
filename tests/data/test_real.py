"""Real rows through real tokenizers: each row's ids are those of the whole text, and every prompt begins its row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from accorda.data.example import Example, RowError
from accorda.data.formats import choose
from accorda.data.read import read_file
from accorda.data.rendered import Rendered
from accorda.data.renderer import Renderer

ROWS = 40


@pytest.fixture(scope="module")
def tokenizers(shared: Path, stories: Path) -> dict[str, PreTrainedTokenizerBase]:
    gpt2 = PreTrainedTokenizerFast(tokenizer_file=str(shared / "data/tokenizers/gpt2/tokenizer.json"))
    gpt2.eos_token = gpt2.bos_token = "<|endoftext|>"
    gpt2.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return {"gpt2": gpt2, "stories": AutoTokenizer.from_pretrained(stories)}


def best_thread(node: dict[str, Any]) -> list[dict[str, str]]:
    """The thread of first-ranked replies of an Open-Assistant tree."""
    turns = []
    while node:
        turns.append({"role": node["role"], "content": node["text"]})
        ranked = [reply for reply in node["replies"] if reply.get("rank") is not None] or node["replies"]
        node = min(ranked, key=lambda reply: reply.get("rank") or 0) if ranked else {}
    return turns


def oasst(shared: Path) -> list[Example]:
    trees = [row for _, _, row in read_file(shared / "data/oasst_trees/en_100_tree.jsonl", "trees")]
    rows = [{"messages": best_thread(tree["prompt"])} for tree in trees]
    return [choose(row, "trees:1").parse(row) for row in rows[:ROWS]]


def glaive(shared: Path) -> list[Example]:
    path = shared / "data/preferences_ultrafeedback_demo/glaive_toolcall_en_demo.json"
    rows = [(line, row) for _, line, row in read_file(path, "glaive")]
    assert len(rows) == 300
    assert path.read_text(encoding="utf-8").split("\n")[rows[1][0] - 1].strip() == "{"
    mapped = choose(rows[0][1], "glaive:1")
    assert mapped.name == "sharegpt"
    return [mapped.parse(row) for _, row in rows[:ROWS]]


def gsm8k(shared: Path) -> list[Example]:
    rows = [row for _, _, row in read_file(shared / "data/gsm8k/test.jsonl", "gsm8k")][:ROWS]
    mapped = choose(rows[0], "gsm8k:1", columns={"prompt": "question", "completion": "answer"})
    return [mapped.parse(row) for row in rows]


CASES = [
    (oasst, "gpt2", "chatml"),
    (oasst, "gpt2", "alpaca"),
    (oasst, "stories", "plain"),
    (glaive, "gpt2", "chatml"),
    (glaive, "stories", "plain"),
    (gsm8k, "gpt2", "auto"),
    (gsm8k, "stories", "auto"),
]


@pytest.mark.parametrize(("load", "name", "template"), CASES)
def test_rows_are_their_whole_text_and_begin_with_their_prompts(
    shared: Path, tokenizers, load: Callable[[Path], list[Example]], name: str, template: str
):
    tokenizer = tokenizers[name]
    renderer = Renderer(tokenizer, template)
    examples = [renderer.trimmed(example) for example in load(shared)]
    for example, row in zip(examples, renderer.render_many(examples), strict=True):
        assert not isinstance(row, RowError)
        assert row.input_ids.tolist() == whole(renderer, example)[: len(row.input_ids)]
        assert row.input_ids[: row.prompt_length].tolist() == renderer.prompt_ids(example)
        assert row.input_ids[-1] in renderer.stop_ids
        assert row.supervised[-1]
        for start, answer in answers(example):
            opened = renderer.prompt_ids(start)
            assert row.input_ids[: len(opened)].tolist() == opened
            end = len(opened) + int(np.argmin([*row.supervised[len(opened) :], False]))
            text = tokenizer.decode(row.input_ids[len(opened) : end])
            assert answer.strip() in text
            assert row.supervised[len(opened) : end].all()
        assert supervised_runs(row) == len(answers(example))


def whole(renderer: Renderer, example: Example) -> list[int]:
    """What transformers makes of the same row in one piece."""
    tokenizer = renderer.tokenizer
    if example.kind == "completion":
        return list(tokenizer(f"{example.prompt}{example.completion}{tokenizer.eos_token}", verbose=False)["input_ids"])
    return list(
        tokenizer.apply_chat_template(
            [
                {"role": m.role, "content": m.content, **({"tool_calls": list(m.tool_calls)} if m.tool_calls else {})}
                for m in example.messages
            ],
            tools=list(example.tools) or None,
            chat_template=renderer.template.source,
            return_dict=False,
            tokenizer_kwargs={"verbose": False},
        )
    )


def answers(example: Example) -> list[tuple[Example, str]]:
    """Each open conversation and what is learned as its answer."""
    if example.kind == "completion":
        return [(Example(prompt=example.prompt), example.completion or "")]
    turns = [(number, message) for number, message in enumerate(example.messages) if message.role == "assistant"]
    return [
        (
            Example(messages=example.messages[:number], tools=example.tools),
            message.content or message.tool_calls[0]["function"]["name"],
        )
        for number, message in turns
    ]


def supervised_runs(row: Rendered) -> int:
    return int(np.count_nonzero(np.diff(row.supervised.astype(int), prepend=0) == 1))

"""Templates of published models, as TRL ships them: what we learn equals what TRL's hand-made marked copies mark."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.zoo import tiny_tokenizer
from transformers import PreTrainedTokenizerFast

from accorda.data.example import Example, Message, RowError
from accorda.data.renderer import Renderer
from accorda.errors import Refusal

SPEC = find_spec("trl")
FOLDER = Path(SPEC.origin).parent / "chat_templates" if SPEC and SPEC.origin else Path("absent")
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="trl with its templates is not installed")
SPECIAL = re.compile(r"<\|[^|>]*\|>|<｜[^｜>]*｜>|<(?:start|end)_of_turn>|<eos>|<bos>")


def user(text: str) -> Message:
    return Message(role="user", content=text)


def answer(text: str, **more: Any) -> Message:
    return Message(role="assistant", content=text, **more)


CALL = {"type": "function", "function": {"name": "look", "arguments": {"at": "x"}}}
PARAMETERS = {"type": "object", "properties": {"at": {"type": "string", "description": "p"}}, "required": ["at"]}
TOOL = {"type": "function", "function": {"name": "look", "description": "D", "parameters": PARAMETERS}}
MULTI = Example(messages=(user("one"), answer("two"), user("three"), answer("four")))
SYSTEM = Example(messages=(Message(role="system", content="be kind"), *MULTI.messages))
RESULT = Message(role="tool", content="seven", extra={"name": "look", "tool_call_id": "1"})
TOOLS = Example(messages=(user("one"), answer("", tool_calls=(CALL,)), RESULT, answer("two")), tools=(TOOL,))
THINKS = (user("one"), answer("two", reasoning="why"), user("three"), answer("four", reasoning="so"))
THOUGHTS = Example(messages=THINKS)


def tokenizer_for(name: str) -> PreTrainedTokenizerFast:
    source = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    tokenizer = tiny_tokenizer(chat_template=False)
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(set(SPECIAL.findall(source)))})
    tokenizer.chat_template = source
    return tokenizer


def runs(ids: np.ndarray, flags: np.ndarray, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """The text of each run of flagged tokens, without white space around it."""
    starts = np.flatnonzero(np.diff(flags.astype(int), prepend=0) == 1)
    ends = np.flatnonzero(np.diff(flags.astype(int), append=0) == -1) + 1
    return [tokenizer.decode(ids[start:end]).strip() for start, end in zip(starts, ends, strict=True)]


MARKED = ["cohere", "cohere2", "gemma", "gemma3", "llama3", "phi3", "phi3_5", "qwen2_5", "lfm2", "lfm2_v2"]


@pytest.mark.parametrize("example", [MULTI, SYSTEM], ids=["turns", "system"])
@pytest.mark.parametrize("name", MARKED)
def test_every_turn_is_learned_as_trl_marks_it(name: str, example: Example):
    tokenizer = tokenizer_for(name)
    if name == "gemma" and example is SYSTEM:
        with pytest.raises(RowError, match="System role not supported"):
            Renderer(tokenizer).render(example)
        return
    row = Renderer(tokenizer).render(example)
    marked = tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in example.messages],
        chat_template=(FOLDER / f"{name}_training.jinja").read_text(encoding="utf-8"),
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    wanted = runs(np.array(marked["input_ids"]), np.array(marked["assistant_masks"]), tokenizer)
    for ours, theirs in zip(runs(row.input_ids, row.supervised, tokenizer), wanted, strict=True):
        theirs = theirs.removesuffix("</s>").strip() if name.startswith("phi3") else theirs  # closes a row twice
        assert ours == theirs or ours == theirs + tokenizer.decode(row.input_ids[-1:])  # some marks leave the stop out
    bos = tokenizer.bos_token
    text = tokenizer.decode(row.input_ids)
    whole = tokenizer.decode(marked["input_ids"])
    assert whole.removeprefix(bos).startswith(text.removeprefix(bos))
    assert text.count(bos) == 1


@pytest.mark.parametrize(
    "name", ["llama3_1", "llama3_2", "qwen2_5", "qwen3_instruct_2507", "lfm2_v2", "gptoss", "qwen3_8"]
)
def test_tools_reach_the_model(name: str):
    tokenizer = tokenizer_for(name)
    row = Renderer(tokenizer).render(TOOLS)
    learned = runs(row.input_ids, row.supervised, tokenizer)
    assert len(learned) == 2
    assert "look" in learned[0]
    assert "two" in learned[1]
    assert "D" in tokenizer.decode(row.input_ids[: row.prompt_length])


@pytest.mark.parametrize("name", ["qwen3", "qwen3_5_think", "qwen3_6", "gptoss", "lfm2_2_5"])
def test_templates_that_forget_reasoning(name: str):
    tokenizer = tokenizer_for(name)
    with pytest.raises(RowError, match=r"leaves out the reasoning of message 1 .*drop_history or none"):
        Renderer(tokenizer).render(THOUGHTS)
    renderer = Renderer(tokenizer, reasoning="drop_history")
    row = renderer.render(THOUGHTS)
    (learned,) = runs(row.input_ids, row.supervised, tokenizer)
    assert "so" in learned
    assert "four" in learned
    assert "why" not in tokenizer.decode(row.input_ids)
    assert renderer.prompt_ids(Example(messages=THINKS[:3])) == row.input_ids[: row.prompt_length].tolist()


@pytest.mark.parametrize("name", ["qwen3", "gptoss"])
def test_templates_that_rewrite_history_learn_the_last_turn_only(name: str):
    tokenizer = tokenizer_for(name)
    with pytest.raises(Refusal, match=r"message 1 is asked for .* but in this row .* data\.supervise=last"):
        Renderer(tokenizer).render(MULTI)
    row = Renderer(tokenizer, supervise="last").render(MULTI)
    (learned,) = runs(row.input_ids, row.supervised, tokenizer)
    assert "four" in learned


@pytest.mark.parametrize("name", ["deepseek_r1_distill", "nemotron_3_nano"])
def test_prompts_that_open_a_thought_the_row_does_not_have(name: str):
    single = Example(messages=MULTI.messages[:2])
    with pytest.raises(Refusal, match=r"use a template .* e\.g\. data\.template=plain") as error:
        Renderer(tokenizer_for(name)).render(single)
    assert "think" in str(error.value)


@pytest.mark.parametrize("name", ["glm4moe"])
def test_a_template_whose_answers_never_end(name: str):
    with pytest.raises(Refusal, match="no end-of-turn token"):
        Renderer(tokenizer_for(name)).render(MULTI)


def test_a_template_that_drops_tool_calls():
    with pytest.raises(RowError, match=r"leaves out a tool or a call of it \('look'\)"):
        Renderer(tokenizer_for("lfm2")).render(TOOLS)

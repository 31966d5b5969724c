"""A row's ids are the ids of its parts; exactly the completion and its stop token are learned; BOS stands once."""

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.zoo import tiny_tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from accorda.data.chat import ChatTemplate, built_in
from accorda.data.example import Example, Message, RowError
from accorda.data.labelled.renderer import load_renderer
from accorda.data.rendered import Rendered
from accorda.data.renderer import Renderer
from accorda.data.tokens import Tokens
from accorda.errors import Refusal

BOS, EOS = 1, 2
TINY = {(template, bos): tiny_tokenizer(template, bos) for template in (True, False) for bos in (True, False)}
WORDS = st.text(alphabet=st.sampled_from("ab N?.\n é</s>🎈"), min_size=1, max_size=12).filter(
    lambda text: text.strip() and "</s>" not in text and "<s>" not in text
)

# As Qwen3's: the reasoning of earlier rounds is not shown, and the last turn always opens a thought.
FORGETS = (
    "{%- set ns = namespace(question=-1) %}{%- for m in messages %}{%- if m.role == 'user' %}"
    "{%- set ns.question = loop.index0 %}{%- endif %}{%- endfor %}"
    "{%- for m in messages %}{{- '<|' + m.role + '|>' }}"
    "{%- if m.role == 'assistant' and loop.index0 > ns.question and (loop.last or m.reasoning_content) %}"
    "{{- '<think>' + (m.reasoning_content or '') + '</think>' }}{%- endif %}"
    "{{- m.content + eos_token + '\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)
# As DeepSeek's: the prompt opens a thought that the row does not show; the template marks what is generated itself.
MARKED = (
    "{%- for m in messages %}{{- '<|' + m.role + '|>' }}{%- if m.role == 'assistant' %}"
    "{% generation %}{{- m.content + eos_token }}{% endgeneration %}{{- '\n' }}"
    "{%- else %}{{- m.content + '\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|><think>' }}{%- endif %}"
)


def chat(*texts: str, **last: Any) -> Example:
    """User and assistant in turn; `last` are fields of the last message."""
    roles = ("user", "assistant")
    turns = [Message(role=roles[number % 2], content=text) for number, text in enumerate(texts)]
    turns[-1] = Message(**{"role": turns[-1].role, "content": turns[-1].content, **last})
    return Example(messages=tuple(turns))


def learned(rendered: Rendered, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The text of each run of supervised tokens."""
    runs, previous = list[list[int]](), False
    for number, flag in zip(rendered.input_ids.tolist(), rendered.supervised.tolist(), strict=True):
        if flag and not previous:
            runs.append([])
        if flag:
            runs[-1].append(number)
        previous = flag
    return [tokenizer.decode(run) for run in runs]


conversations = st.lists(WORDS, min_size=2, max_size=8).map(lambda texts: chat(*texts[: len(texts) // 2 * 2]))
tokenizers = st.sampled_from(sorted(TINY))
templates = st.sampled_from(["auto", "plain", "alpaca"])


@given(WORDS, WORDS, tokenizers)
def test_prompt_and_completion_are_joined_as_they_are(prompt: str, completion: str, name: tuple[bool, bool]):
    tokenizer = TINY[name]
    renderer = Renderer(tokenizer)
    row = renderer.render(Example(prompt=prompt, completion=completion))
    bos = [BOS] if name[1] else []
    assert row.input_ids.tolist() == [
        *bos,
        *tokenizer.encode(prompt, add_special_tokens=False),
        *tokenizer.encode(completion, add_special_tokens=False),
        EOS,
    ]
    assert tokenizer.decode(row.input_ids[len(bos) :]) == prompt + completion + "</s>"
    assert learned(row, tokenizer) == [completion + "</s>"]
    assert row.input_ids[: row.prompt_length].tolist() == renderer.prompt_ids(Example(prompt=prompt))
    assert renderer.prompt_ids(Example(prompt=prompt)) == tokenizer(prompt)["input_ids"]
    assert renderer.completion_text(Example(prompt=prompt, completion=completion)) == completion


@given(WORDS, tokenizers)
def test_a_text_is_learned_whole_and_closed(text: str, name: tuple[bool, bool]):
    row = Renderer(TINY[name]).render(Example(text=text))
    bos = [BOS] if name[1] else []
    assert row.input_ids.tolist() == [*bos, *TINY[name].encode(text, add_special_tokens=False), EOS]
    assert row.supervised.tolist() == [False] * len(bos) + [True] * (len(row.input_ids) - len(bos))


def test_bos_and_eos_that_the_text_already_holds_are_not_doubled():
    renderer = Renderer(TINY[True, True])
    row = renderer.render(Example(prompt="<s>ab", completion="N</s>"))
    assert row.input_ids.tolist().count(BOS) == 1
    assert row.input_ids.tolist().count(EOS) == 1
    for example in (Example(text="<s>ab"), Example(prompt="", completion="<s>ab")):
        row = renderer.render(example)
        assert row.supervised.tolist() == [False] + [True] * (len(row.input_ids) - 1)
        assert row.input_ids[: row.prompt_length].tolist() == renderer.prompt_ids(Example(prompt="")) == [BOS]


@settings(max_examples=60)
@given(conversations, tokenizers, templates)
def test_a_conversation_reads_as_the_template_shows_it(example: Example, name: tuple[bool, bool], template: str):
    """Transformers' own rendering of the same messages is the oracle; the row ends with its last stop token."""
    renderer = Renderer(TINY[name], template)
    row = renderer.render(example)
    shown = TINY[name].apply_chat_template(
        [{"role": m.role, "content": m.content} for m in example.messages],
        chat_template=renderer.template.source,
        tokenize=False,
    )
    shown = str(shown).removeprefix("<s>").rstrip()
    text = TINY[name].decode(row.input_ids)
    assert text == ("<s>" if name[1] else "") + shown
    assert row.input_ids.tolist().count(BOS) == int(name[1])
    answers = [m.content for m in example.messages if m.role == "assistant"]
    for run, answer in zip(learned(row, TINY[name]), answers, strict=True):
        assert run.removesuffix("</s>").strip() == answer.strip()
        assert run.endswith("</s>")


@settings(max_examples=60)
@given(conversations, tokenizers, templates)
def test_every_prompt_is_a_prefix_of_the_row(example: Example, name: tuple[bool, bool], template: str):
    renderer = Renderer(TINY[name], template)
    row = renderer.render(example)
    starts = np.flatnonzero(np.diff(row.supervised.astype(int), prepend=0) == 1)
    turns = [number for number, message in enumerate(example.messages) if message.role == "assistant"]
    for start, turn in zip(starts, turns, strict=True):
        opened = Example(messages=example.messages[:turn])
        assert renderer.prompt_ids(opened) == row.input_ids[:start].tolist()
        asked = TINY[name].apply_chat_template(
            [{"role": m.role, "content": m.content} for m in opened.messages],
            chat_template=renderer.template.source,
            tokenize=False,
            add_generation_prompt=True,
        )
        decoded = TINY[name].decode(row.input_ids[:start])
        assert decoded.removeprefix("<s>") == str(asked).removeprefix("<s>")
    assert row.prompt_length == starts[-1]
    assert renderer.prompt_ids(example) == row.input_ids[: starts[-1]].tolist()


def test_supervise_last_and_the_switch_of_a_message():
    example = chat("a", "b", "c", "d")
    tokenizer = TINY[True, True]
    assert learned(Renderer(tokenizer, supervise="last").render(example), tokenizer) == ["d</s>"]
    assert learned(Renderer(tokenizer).render(example), tokenizer) == ["b</s>", "d</s>"]
    off = Example(messages=(*example.messages[:3], Message(role="assistant", content="d", train=False)))
    row = Renderer(tokenizer).render(off)
    assert learned(row, tokenizer) == ["b</s>"]
    assert row.input_ids[-1] == EOS  # what follows the last learned token is left out
    on = Example(
        messages=(example.messages[0], Message(role="assistant", content="b", train=True), *example.messages[2:])
    )
    assert learned(Renderer(tokenizer, supervise="last").render(on), tokenizer) == ["b</s>", "d</s>"]
    with pytest.raises(RowError, match="no assistant turn to learn from"):
        Renderer(tokenizer).render(chat("a", "b", train=False))


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (Example(messages=(Message(role="user", content="a"),)), "no assistant turn"),
        (chat("a", " "), "empty completion"),
        (Example(prompt="a"), "without a completion"),
        (Example(prompt="a", completion=""), "no token to learn|empty"),
    ],
)
def test_rows_without_anything_to_learn(example: Example, reason: str):
    if example.completion == "":
        assert Renderer(TINY[True, True]).render(example).supervised.sum() == 1  # eos alone; the format refuses it
        return
    with pytest.raises(RowError, match=reason):
        Renderer(TINY[True, True]).render(example)


def forgetful(reasoning: str = "keep", supervise: str = "all", source: str = FORGETS) -> Renderer:
    tokenizer = TINY[False, True]
    template = ChatTemplate("forgets", source, variables={"eos_token": "</s>", "bos_token": "<s>"})
    return Renderer(tokenizer, template, supervise, reasoning)  # pyright: ignore[reportArgumentType]


THINKING = Example(
    messages=(
        Message(role="user", content="a"),
        Message(role="assistant", content="b", reasoning="why b"),
        Message(role="user", content="c"),
        Message(role="assistant", content="<think>why d</think>d"),
    )
)


def test_a_template_that_rewrites_history_is_refused_with_the_difference():
    plain = chat("a", "b", "c", "d")
    with pytest.raises(Refusal) as error:
        forgetful().render(plain)
    asked, shown = re.findall(r"\.\.\.('.*?')", str(error.value))
    assert "<think></think>b</s>" in asked
    assert "|>b</s>" in shown
    assert "data.supervise=last" in str(error.value)
    assert "\n" not in str(error.value)
    row = forgetful(supervise="last").render(plain)
    assert learned(row, TINY[False, True]) == ["<think></think>d</s>"]


def test_reasoning_kept_dropped_from_history_or_removed():
    tokenizer = TINY[False, True]
    with pytest.raises(RowError, match=r"leaves out the reasoning of message 1 .*drop_history"):
        forgetful("keep").render(THINKING)
    row = forgetful("drop_history").render(THINKING)
    assert learned(row, tokenizer) == ["<think>why d</think>d</s>"]  # turn 1 was asked for in another shape
    assert "why b" not in tokenizer.decode(row.input_ids)
    none = forgetful("none", "last").render(THINKING)
    assert "why" not in tokenizer.decode(none.input_ids)
    kept = Renderer(tokenizer).render(THINKING)  # the plain template shows all reasoning
    shown = [f" <think>\nwhy {answer}\n</think>\n\n{answer}</s>" for answer in "bd"]  # one way for both ways to say it
    assert learned(kept, tokenizer) == shown
    assert learned(Renderer(tokenizer, reasoning="none").render(THINKING), tokenizer) == [" b</s>", " d</s>"]
    blind = "{% for m in messages %}{{ m.role + m.content + eos_token }}{% endfor %}"
    kept = forgetful(source=blind + "{% if add_generation_prompt %}assistant{% endif %}").render(THINKING)
    assert learned(kept, tokenizer) == ["<think>\nwhy b\n</think>\n\nb</s>", "<think>why d</think>d</s>"]


def test_reasoning_of_the_current_round_stays_with_drop_history():
    """question, thought and tool call, result, answer: one round, as a model sees it."""
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": 1}}}
    example = Example(
        messages=(
            Message(role="user", content="a"),
            Message(role="assistant", content="", reasoning="call it", tool_calls=(call,)),
            Message(role="tool", content="7"),
            Message(role="assistant", content="seven"),
            Message(role="user", content="more"),
            Message(role="assistant", content="no", reasoning="enough"),
        )
    )
    tokenizer = TINY[False, True]
    renderer = Renderer(tokenizer, reasoning="drop_history")
    first = Example(messages=example.messages[:4])
    assert learned(renderer.render(first), tokenizer)[0].startswith(" <think>\ncall it")
    whole = renderer.render(example)
    assert learned(whole, tokenizer) == [" <think>\nenough\n</think>\n\nno</s>"]
    assert "call it" not in tokenizer.decode(whole.input_ids)
    assert whole.input_ids[: whole.prompt_length].tolist() == renderer.prompt_ids(example)


def test_marks_of_the_template_where_it_keeps_no_prefixes():
    row = forgetful(source=MARKED).render(chat("a", "b", "c", "d"))
    assert learned(row, TINY[False, True]) == ["b</s>", "d</s>"]
    outside = MARKED.replace(
        "m.content + eos_token }}{% endgeneration %}", "m.content }}{% endgeneration %}{{- eos_token }}"
    )
    row = forgetful(source=outside).render(chat("a", "b", "c", "d"))
    assert learned(row, TINY[False, True]) == ["b</s>", "d</s>"]  # the stop token is learned all the same


def test_marks_equal_what_transformers_makes_of_them():
    messages = [{"role": role, "content": text} for role, text in (("user", "a b"), ("assistant", "N?"))]
    encoded = TINY[False, True].apply_chat_template(
        messages, chat_template=MARKED, return_dict=True, return_assistant_tokens_mask=True
    )
    row = forgetful(source=MARKED).render(chat("a b", "N?"))
    wanted = [number for number, flag in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if flag]
    assert row.input_ids[row.supervised].tolist() == wanted


def test_a_template_without_an_end_of_turn_is_refused():
    bare = "{% for m in messages %}{{ m.role + ':' + m.content + '\n' }}{% endfor %}"
    bare += "{% if add_generation_prompt %}assistant:{% endif %}"
    with pytest.raises(Refusal, match=r"no end-of-turn token .* data\.template=plain"):
        forgetful(source=bare).render(chat("a", "b"))
    with pytest.raises(Refusal, match="chatml"):
        Renderer(TINY[True, True], "chatml")  # the tokenizer has no <|im_end|>


def test_messages_a_template_drops_are_not_lost_in_silence():
    example = Example(messages=(Message(role="system", content="be kind"), *chat("a", "b").messages))
    no_system = FORGETS.replace("{{- m.content", "{%- if m.role != 'system' %}{{- m.content").replace(
        "eos_token + '\n' }}", "eos_token + '\n' }}{%- endif %}"
    )
    with pytest.raises(RowError, match=r"leaves out the text of message 0 \(system\) \('be kind'\)"):
        forgetful(source=no_system).render(example)
    tools = Example(messages=chat("a", "b").messages, tools=({"type": "function", "function": {"name": "look"}},))
    with pytest.raises(RowError, match="leaves out a tool"):
        forgetful().render(tools)


def test_template_errors_name_the_reason():
    source = "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}"
    with pytest.raises(RowError, match="user first"):
        forgetful(source=source).render(Example(messages=(Message(role="assistant", content="a"),)))
    with pytest.raises(Refusal, match="template forgets: line 1"):
        forgetful(source="{% if %}").render(chat("a", "b"))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ messages[5].content }}", "no element 5"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "recursion"),
    ],
)
def test_a_template_in_a_file_that_shows_no_row_is_told_by_the_row(source, reason, tmp_path):
    (tmp_path / "own.jinja").write_text(source, encoding="utf-8")
    renderer = Renderer(TINY[True, True], str(tmp_path / "own.jinja"))
    with pytest.raises(RowError, match=rf"own\.jinja\) cannot show it: .*{reason}"):
        renderer.render(chat("a", "b"))


def test_templates_run_in_a_sandbox():
    for attack in ("{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ cycler.__init__.__globals__ }}"):
        with pytest.raises(RowError, match="cannot show it"):
            forgetful(source=attack).render(chat("a", "b"))


def with_tokens(*special: str) -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer(chat_template=False)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


@pytest.mark.parametrize(
    ("name", "special", "stop"),
    [
        ("chatml", ("<|im_start|>", "<|im_end|>"), "<|im_end|>"),
        ("llama3", ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "<|eot_id|>"),
        ("plain", (), "</s>"),
    ],
)
def test_built_in_templates_carry_tools_calls_results_and_reasoning(name: str, special: tuple[str, ...], stop: str):
    tokenizer = with_tokens(*special)
    renderer = Renderer(tokenizer, name)
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": "é"}}}
    example = Example(
        messages=(
            Message(role="system", content="S"),
            Message(role="user", content="U"),
            Message(role="assistant", content="C", reasoning="R", tool_calls=(call, call)),
            Message(role="tool", content="T"),
            Message(role="assistant", content="A"),
        ),
        tools=({"type": "function", "function": {"name": "look", "description": "D"}},),
    )
    row = renderer.render(example)
    runs = learned(row, tokenizer)
    assert len(runs) == 2
    assert all(run.endswith(stop) for run in runs)
    assert "<think>\nR\n</think>\n\nC\n" in runs[0]
    assert runs[0].count('"name": "look"') == 2
    assert json.dumps({"at": "é"}, ensure_ascii=False) in runs[0]
    assert runs[1].strip() == f"A{stop}"
    assert row.input_ids.tolist().count(BOS) == 1
    assert tokenizer.convert_tokens_to_ids(stop) in renderer.stop_ids
    text = tokenizer.decode(row.input_ids)
    assert all(word in text for word in ("S", "U", "T", '"description": "D"'))


def test_alpaca_is_stanfords_prompt():
    renderer = Renderer(TINY[False, False], "alpaca")
    message = Message(role="user", content="Add.\n\n1 2", extra={"instruction": "Add.", "input": "1 2"})
    row = renderer.render(Example(messages=(message, Message(role="assistant", content="3"))))
    assert TINY[False, False].decode(row.input_ids) == (
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n"
        "### Response:\n3</s>"
    )
    with pytest.raises(RowError, match="no place for a tool message"):
        renderer.render(Example(messages=(Message(role="tool", content="x"), Message(role="assistant", content="3"))))


def test_a_prefix_keeping_template_for_every_built_in_name():
    assert set(built_in()) == {"alpaca", "chatml", "llama3", "plain"}


@pytest.mark.parametrize("name", ["plain", "alpaca", "auto"])
def test_state_survives_the_file(name: str, tmp_path):
    first = Renderer(TINY[True, True], name, supervise="last", reasoning="none")
    first.kind = "messages"
    first.save(tmp_path)
    again = Renderer.load(tmp_path, tiny_tokenizer(True, True))
    assert again.to_dict() == first.to_dict()
    assert again.render(chat("a", "b")).input_ids.tolist() == first.render(chat("a", "b")).input_ids.tolist()
    assert again.ask("hi") == Example(messages=(Message(role="user", content="hi"),))
    with pytest.raises(Refusal, match="another tokenizer"):
        Renderer.load(tmp_path, tiny_tokenizer(True, False))


@pytest.mark.parametrize("content", ["[]", '{"version": 1}', '{"version": 1, "kind": "labelled", "labels": 3}', "{"])
def test_a_file_that_accorda_does_not_write_so_is_refused(content, tmp_path):
    (tmp_path / "renderer.json").write_text(content, encoding="utf-8")
    for load in (Renderer.load, load_renderer):
        with pytest.raises(Refusal, match=r"renderer\.json: "):
            load(tmp_path, TINY[True, True])


def test_a_date_in_the_template_stays_what_it_was(tmp_path, monkeypatch):
    tokenizer = tiny_tokenizer(True, True)
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}" + FORGETS
    first = Renderer(tokenizer)
    first.save(tmp_path)
    state = json.loads((tmp_path / "renderer.json").read_text())
    state["day"] = "2001-02-03"
    (tmp_path / "renderer.json").write_text(json.dumps(state))
    old = Renderer.load(tmp_path, tokenizer)
    assert "03 Feb 2001" in tokenizer.decode(old.render(chat("a", "b")).input_ids)
    assert old.digest != first.digest


def test_the_tokenizers_own_template_for_tools(tmp_path):
    tokenizer = tiny_tokenizer(True, True)
    tokenizer.chat_template = {"default": FORGETS, "tool_use": "{{ tools | tojson }}" + FORGETS}
    renderer = Renderer(tokenizer)
    tools = ({"type": "function", "function": {"name": "look"}},)
    row = renderer.render(Example(messages=chat("a", "b").messages, tools=tools))
    assert '"name": "look"' in tokenizer.decode(row.input_ids)
    assert "look" not in tokenizer.decode(renderer.render(chat("a", "b")).input_ids)


def test_template_files_and_unknown_names(tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text(FORGETS, encoding="utf-8")
    assert Renderer(TINY[True, True], str(file)).template_name == "mine.jinja"
    with pytest.raises(Refusal, match=r"data\.template: chatmil: templates are auto, alpaca, chatml, llama3, plain"):
        Renderer(TINY[True, True], "chatmil")
    with pytest.raises(Refusal, match="cannot be read"):
        Renderer(TINY[True, True], str(tmp_path / "none.jinja"))


def test_no_end_of_sequence_token_is_refused():
    tokenizer = tiny_tokenizer(False, True)
    tokenizer.eos_token = None
    with pytest.raises(Refusal, match="no end-of-sequence token"):
        Renderer(tokenizer).render(Example(text="a"))


@pytest.fixture(scope="module")
def real(shared, stories) -> dict[str, PreTrainedTokenizerBase]:
    gpt2 = PreTrainedTokenizerFast(tokenizer_file=str(shared / "data/tokenizers/gpt2/tokenizer.json"))
    gpt2.eos_token = gpt2.bos_token = "<|endoftext|>"
    t5 = PreTrainedTokenizerFast(tokenizer_file=str(shared / "data/tokenizers/t5/tokenizer.json"), eos_token="</s>")
    return {"stories": AutoTokenizer.from_pretrained(stories), "gpt2": gpt2, "t5": t5}


@pytest.mark.parametrize("name", ["stories", "gpt2"])
@pytest.mark.parametrize("prompt", ["Q: 2+2?\nA:", "Once", "how many?", "tab\t", "end "])
@pytest.mark.parametrize("completion", [" 4", "4", "\nyes", "é 🎈"])
def test_real_tokenizers_add_no_space_between_prompt_and_completion(real, name: str, prompt: str, completion: str):
    tokenizer = real[name]
    row = Renderer(tokenizer).render(Example(prompt=prompt, completion=completion))
    head = Renderer(tokenizer).tokens.prefix
    assert tokenizer.decode(row.input_ids[len(head) : -1]) == prompt + completion
    assert row.input_ids[: row.prompt_length].tolist() == tokenizer(prompt)["input_ids"]
    assert row.supervised.sum() == len(row.input_ids) - row.prompt_length
    assert row.input_ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize(("name", "prefix"), [("stories", [1]), ("gpt2", []), ("t5", [])])
def test_what_real_tokenizers_put_in_front(real, name: str, prefix: list[int]):
    renderer = Renderer(real[name])
    assert renderer.tokens.prefix == prefix
    assert renderer.template_name == "plain"
    row = renderer.render(chat("Hi.", "Hello!", "Bye.", "So long."))
    assert row.input_ids[: len(prefix)].tolist() == prefix
    assert [run.strip() for run in learned(row, real[name])] == [
        f"Hello!{real[name].eos_token}",
        f"So long.{real[name].eos_token}",
    ]


def test_padding_and_truncation_that_others_switched_on_change_nothing(real):
    tokenizer = real["gpt2"]
    before = Renderer(tokenizer).tokens.digest
    tokenizer.pad_token = "<|endoftext|>"
    alone = Renderer(tokenizer).render(Example(prompt="a", completion="b" * 50)).input_ids.tolist()
    changed = Renderer(tokenizer).tokens.digest
    tokenizer(["a", "a b c"], padding=True, truncation=True, max_length=2)
    assert Tokens(tokenizer).digest == changed
    assert Renderer(tokenizer).render(Example(prompt="a", completion="b" * 50)).input_ids.tolist() == alone
    assert before != changed  # a pad token is part of the tokenizer
    assert Renderer(tokenizer).pad_id == tokenizer.eos_token_id
    assert Renderer(tokenizer).render(Example(text="a")).supervised[-1]  # eos is learned although it is also the pad


def test_a_last_turn_that_is_closed_twice_is_learned_like_the_others():
    """Phi-3's template writes the end-of-sequence token behind the whole conversation, too."""
    source = (
        "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
    )
    tokenizer = with_tokens("<|end|>")
    tokenizer.chat_template = source
    row = Renderer(tokenizer).render(chat("a", "b", "c", "d"))
    assert learned(row, tokenizer) == ["b<|end|>", "d<|end|>"]

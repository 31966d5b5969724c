import dataclasses
import json

import numpy as np
import pytest
from tests.zoo import tiny_tokenizer

from accorda.data import batch as batching
from accorda.data.prepare import prepare
from accorda.data.renderer import Renderer
from accorda.data.sampler import Batches
from accorda.proofs.mask import masked
from accorda.proofs.words import runs
from accorda.recipe.sections import DataSection

PAIRS = [
    {"prompt": f"How many clips in {n} days? ", "completion": f"She sold {n} clips, then {2 * n}."} for n in range(9)
]
CHATS = [
    {
        "messages": [
            {"role": "system", "content": "Answer the question."},
            {"role": "user", "content": f"What is {n} + {n}?"},
            {"role": "assistant", "content": f"It is {2 * n}."},
            {"role": "user", "content": "And once more?"},
            {"role": "assistant", "content": f"Then it is {3 * n}."},
        ]
    }
    for n in range(9)
]


def made(folder, rows, *, stage="sft", max_length=128, **settings):
    """Dataset, renderer and section of rows in a file."""
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    section = DataSection(train=str(source), eval_split=0.0, **settings)
    renderer = Renderer(tiny_tokenizer(), section.template, section.supervise, section.reasoning)
    dataset = prepare(section, renderer, max_length=max_length, stage=stage, store_folder=folder / "store")
    return dataset, renderer, section


def failed(proof):
    return {entry["name"]: entry["reason"] for entry in proof.evidence["checks"] if entry["verdict"] == "fails"}


def tampered(dataset, change):
    """The dataset with every segment changed."""

    class Tampered(type(dataset)):
        def __getitem__(self, index):
            segment = super().__getitem__(index)
            return dataclasses.replace(segment, **change(segment))

    return Tampered(dataset.parts, dataset.spans, dataset.report, dataset.everything)


@pytest.mark.parametrize("rows", [PAIRS, CHATS, [{"text": "Once upon a time."}] * 3], ids=["pairs", "chats", "text"])
@pytest.mark.parametrize("packed", [True, False])
def test_holds(tmp_path, rows, packed):
    dataset, renderer, section = made(tmp_path, rows)
    batches = Batches(dataset, batch_size=4, micro_tokens=256, packed=packed)
    proof = masked(dataset, renderer, section, batches)
    assert failed(proof) == {}
    assert proof.verdict == "holds"
    assert proof.evidence["rows"]["kept"] == len(rows)
    assert len(proof.evidence["checks"]) == 8


@pytest.mark.parametrize("settings", [{"supervise": "last"}, {"template": "plain"}, {"reasoning": "none"}], ids=repr)
def test_settings_of_conversations_hold(tmp_path, settings):
    proof = masked(*made(tmp_path, CHATS, **settings))
    assert failed(proof) == {}


def test_messages_that_say_for_themselves(tmp_path):
    rows = json.loads(json.dumps(CHATS))
    for row in rows:
        row["messages"][2]["train"] = False
    dataset, renderer, section = made(tmp_path, rows)
    assert failed(masked(dataset, renderer, section)) == {}
    assert len(runs(dataset[0].supervised)) == 1


def test_reasoning_and_tool_calls_stand_among_markup(tmp_path):
    call = {"type": "function", "function": {"name": "add", "arguments": {"b": 2, "a": 1}}}
    turns = [
        {"role": "user", "content": "1 + 2?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "3", "name": "add"},
        {"role": "assistant", "content": "It is 3.", "reasoning_content": "The tool said 3."},
    ]
    proof = masked(*made(tmp_path, [{"messages": turns}] * 2, template="plain", max_length=512))
    assert failed(proof) == {}


def test_pretraining_learns_everything(tmp_path):
    rows = [{"text": f"A story of {n} words and more."} for n in range(20)]
    dataset, renderer, section = made(tmp_path, rows, stage="pretrain", max_length=32)
    batches = Batches(dataset, batch_size=4, micro_tokens=256, packed=True)
    assert failed(masked(dataset, renderer, section, batches)) == {}
    holed = tampered(dataset, lambda s: {"supervised": np.arange(len(s)) != 3})
    assert set(failed(masked(holed, renderer, section))) == {"everything learned"}


@pytest.mark.parametrize("policy", ["skip", "truncate_prompt", "truncate"])
def test_what_over_length_cost(tmp_path, policy):
    long = [{"prompt": "word " * 60, "completion": "short answer"}, {"prompt": "p ", "completion": "answer " * 80}]
    dataset, renderer, section = made(tmp_path, PAIRS + long, overlong=policy, max_length=80)
    proof = masked(dataset, renderer, section)
    assert failed(proof) == {}
    assert ("shortened" in proof.reason) or policy == "skip"
    assert "left out" in proof.reason
    assert proof.evidence["supervised_tokens_lost"] > 0


def end_not_learned(segment):
    flags = segment.supervised.copy()
    for _, end in runs(flags):
        flags[end - 1] = False
    return {"supervised": flags}


def end_missing(segment):
    return {"input_ids": segment.input_ids[:-1], "supervised": segment.supervised[:-1]}


def prompt_learned(segment):
    return {"supervised": np.arange(len(segment)) > 0}


def one_word_less(segment):
    flags = segment.supervised.copy()
    flags[int(np.argmax(flags))] = False
    return {"supervised": flags}


def labels_cut_in_half(segment):
    flags = segment.supervised.copy()
    start, end = runs(flags)[-1]
    return {"input_ids": segment.input_ids[: (start + end) // 2], "supervised": flags[: (start + end) // 2]}


def no_labels(segment):
    return {"supervised": np.zeros(len(segment), np.bool_)}


def double_bos(segment):
    return {
        "input_ids": np.concatenate([segment.input_ids[:1], segment.input_ids]),
        "supervised": np.concatenate([segment.supervised[:1], segment.supervised]),
    }


def no_bos(segment):
    return {"input_ids": segment.input_ids[1:], "supervised": segment.supervised[1:]}


def shifted(segment):
    return {"supervised": np.roll(segment.supervised, 1)}


@pytest.mark.parametrize(
    ("change", "caught_by"),
    [
        (end_not_learned, "end"),
        (end_missing, "end"),
        (prompt_learned, "completion"),
        (one_word_less, "completion"),
        (labels_cut_in_half, "completion"),
        (no_labels, "labels"),
        (double_bos, "bos"),
        (no_bos, "bos"),
        (shifted, "completion"),
    ],
)
@pytest.mark.parametrize("rows", [PAIRS, CHATS], ids=["pairs", "chats"])
def test_faults_of_rows(tmp_path, rows, change, caught_by):
    dataset, renderer, section = made(tmp_path, rows)
    proof = masked(tampered(dataset, change), renderer, section)
    assert proof.verdict == "fails"
    assert caught_by in failed(proof)
    assert "rows.jsonl:1" in failed(proof)[caught_by]


def test_the_faults_need_no_help_from_rendering_again(tmp_path, monkeypatch):
    """The renderer itself forgets the end, so that rendering again agrees with the stored rows."""
    join = Renderer._join

    def endless(self, plan, pieces):
        rendered = join(self, plan, pieces)
        return dataclasses.replace(rendered, **end_not_learned(rendered))

    monkeypatch.setattr(Renderer, "_join", endless)
    assert set(failed(masked(*made(tmp_path, CHATS)))) == {"end"}


def test_a_store_that_outlived_its_source(tmp_path):
    dataset, renderer, section = made(tmp_path, PAIRS)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row | {"completion": "Else."}) + "\n" for row in PAIRS))
    assert failed(masked(dataset, renderer, section))["source"].startswith(f"{dataset[0].file}:1 does not hold")
    (tmp_path / "rows.jsonl").write_text(json.dumps(PAIRS[0]) + "\n")
    assert "rows.jsonl:2 is no row any more" in failed(masked(dataset, renderer, section))["source"]


def test_rows_that_share_a_line(tmp_path):
    """json.dump writes a list of rows on one line; each row is looked for among all that stand there."""
    source = tmp_path / "rows.json"
    source.write_text(json.dumps(PAIRS))
    section = DataSection(train=str(source), eval_split=0.0)
    renderer = Renderer(tiny_tokenizer())
    dataset = prepare(section, renderer, max_length=128, store_folder=tmp_path / "store")
    assert failed(masked(dataset, renderer, section)) == {}
    source.write_text(json.dumps(PAIRS[:-1]))
    assert failed(masked(dataset, renderer, section))["source"].startswith(f"{source}:1 does not hold")


def test_a_store_of_another_template(tmp_path):
    dataset, renderer, section = made(tmp_path, CHATS)
    other = Renderer(renderer.tokenizer, "plain")
    assert "a stale store" in failed(masked(dataset, other, section))["rendered"]


def test_rows_from_python(tmp_path):
    section = DataSection(train=PAIRS, eval_split=0.0)
    renderer = Renderer(tiny_tokenizer())
    dataset = prepare(section, renderer, max_length=128, store_folder=tmp_path)
    assert failed(masked(dataset, renderer, section)) == {}


@pytest.mark.parametrize("packed", [True, False])
def test_batches_that_change_labels(tmp_path, monkeypatch, packed):
    dataset, renderer, section = made(tmp_path, PAIRS)
    batches = Batches(dataset, batch_size=4, micro_tokens=256, packed=packed)
    right = batching._labels

    def pad_is_eos(segment):
        labels = right(segment)
        labels[labels == renderer.tokenizer.eos_token_id] = -100
        return labels

    monkeypatch.setattr(batching, "_labels", pad_is_eos)
    assert set(failed(masked(dataset, renderer, section, batches))) == {"batches"}
    monkeypatch.setattr(batching, "_labels", lambda segment: np.roll(right(segment), 1))
    assert set(failed(masked(dataset, renderer, section, batches))) == {"batches"}


def test_targets_of_another_position(tmp_path, monkeypatch):
    dataset, renderer, section = made(tmp_path, PAIRS)
    batches = Batches(dataset, batch_size=4, micro_tokens=256, packed=True)
    right = batching.Batch.targets
    monkeypatch.setattr(batching.Batch, "targets", lambda self: (right(self)[0] - 1, right(self)[1]))
    assert set(failed(masked(dataset, renderer, section, batches))) == {"batches"}


def test_counts_that_do_not_add_up(tmp_path):
    dataset, renderer, section = made(tmp_path, PAIRS)
    dataset.report.rows["kept"] -= 1
    assert set(failed(masked(dataset, renderer, section))) == {"over-length"}

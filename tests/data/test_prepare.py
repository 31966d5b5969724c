"""What becomes of rows: split, length policy, bad rows, mixture, blocks; and a report that adds up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.zoo import tiny_tokenizer

from accorda.data.dataset import Dataset
from accorda.data.overlong import SPAN, fit, span_lengths
from accorda.data.prepare import prepare, prepare_splits
from accorda.data.renderer import Renderer
from accorda.data.split import held_out, repeated
from accorda.errors import Refusal
from accorda.recipe.sections import DataSection
from accorda.recipe.sources import Source

TOKENIZER = tiny_tokenizer(chat_template=True, add_bos=True)
BOS, EOS = 1, 2


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCORDA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def write(tmp_path) -> Callable[..., str]:
    def writing(*lines: Any, name: str = "rows.jsonl") -> str:
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        (tmp_path / name).write_text(text + "\n", encoding="utf-8")
        return str(tmp_path / name)

    return writing


def rows(*lengths: int, prompt: str = "N") -> list[dict[str, str]]:
    """Rows of so many tokens: BOS, the prompt's, the completion's ("0" is one token each), EOS; all different."""
    made = []
    for number, length in enumerate(lengths):
        body = length - 2 - len(TOKENIZER.encode(prompt, add_special_tokens=False))
        made.append({"prompt": prompt, "completion": np.base_repr(number, 3).rjust(body, "0").replace("1", "Z")[:body]})
    return made


def made(source: Any, *, max_length: int = 64, stage: Any = "sft", **section: Any) -> tuple[Dataset, Dataset | None]:
    filled = DataSection(**{"train": source, "eval_split": 0.0, **section})
    return prepare_splits(filled, Renderer(TOKENIZER), max_length=max_length, stage=stage)


def texts(dataset: Dataset) -> list[str]:
    return [TOKENIZER.decode(dataset[row].input_ids) for row in range(len(dataset))]


def test_rows_come_back_with_their_place_and_content(write):
    file = write({"prompt": "a", "completion": "b"}, "", {"prompt": "c", "completion": "d"})
    dataset, held = made(file)
    assert held is None
    assert [(dataset[row].file, dataset[row].line, dataset[row].index) for row in range(2)] == [
        (file, 1, 0),
        (file, 3, 1),
    ]
    assert texts(dataset) == ["<s>ab</s>", "<s>cd</s>"]
    assert dataset.example(1).to_dict() == {"prompt": "c", "completion": "d"}
    assert (dataset.example(1).file, dataset.example(1).line) == (file, 3)
    assert dataset[1].supervised.tolist() == [False, False, True, True]
    assert dataset.prompt_ids(1) == Renderer(TOKENIZER).prompt_ids(dataset.example(1))
    assert dataset.lengths.tolist() == [4, 4]
    assert dataset[0].input_ids.dtype == np.int32
    with pytest.raises(IndexError):
        dataset[2]


def test_the_report_adds_up(write):
    file = write(*rows(6, 8, 10, 12, 70), "{broken", {"prompt": "x"}, {"prompt": "a", "completion": " "})
    dataset, _ = made(file, max_length=64, on_bad_row="skip")
    report = dataset.report
    assert report.rows == {"seen": 8, "kept": 4, "skipped": 3, "overlong": 1, "truncated": 0}
    assert report.lengths == {"p50": 10, "p95": 70, "p100": 70}
    assert report.tokens == 36 == dataset.lengths.sum()
    assert report.supervised_tokens == sum(dataset[row].supervised.sum() for row in range(4))
    assert report.supervised_share == report.supervised_tokens / 36
    assert report.supervised_tokens_lost == 70 - 2
    assert report.overlong_rows == [{"file": file, "line": 5, "tokens": 70}]
    assert [(row["line"], row["reason"].partition(":")[0]) for row in report.bad_rows] == [
        (6, "bad JSON"),
        (7, "no column 'completion' (it has prompt)"),
        (8, "empty completion"),
    ]
    assert json.loads(json.dumps(report.to_dict()))["sources"][0]["format"] == "completion"


def test_bad_rows_are_refused_with_place_reason_number_and_way_out(write, tmp_path):
    file = write({"prompt": "a", "completion": "b"}, "{broken", {"prompt": 3, "completion": "b"}, "[1]")
    with pytest.raises(Refusal) as error:
        made(file)
    assert str(error.value) == (
        f"{file}:2: bad JSON: Expecting property name enclosed in double quotes (character 2) (and 2 more bad rows); "
        "mend the data or say data.on_bad_row=skip"
    )
    made(file, on_bad_row="skip")
    with pytest.raises(Refusal, match=r":2: bad JSON.*2 more bad rows"):
        made(file)  # also where the tokens are already there


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("skip", [4]), ("truncate_prompt", [4, 9]), ("truncate", [4, 9, 9]), ("auto", None), ("error", None)],
)
def test_overlong_rows_by_policy(write, policy: str, expected: list[int] | None):
    """Completions of 1, 6 and 10 tokens (EOS included) with prompts of 2, 7 and 2, BOS included; at most 9 fit."""
    bodies = [("a", "b"), ("abcabc"[:6], "00000"), ("a", "0" * 9)]
    file = write(*({"prompt": prompt, "completion": completion} for prompt, completion in bodies))
    if expected is None:
        with pytest.raises(Refusal) as error:
            made(file, max_length=9, overlong=policy)
        assert ("data.overlong=error" if policy == "error" else "more than a quarter") in str(error.value)
        assert (f"{file}:2: 13 tokens" if policy == "error" else "data.max_length=13") in str(error.value)
        return
    dataset, _ = made(file, max_length=9, overlong=policy)
    assert dataset.lengths.tolist() == expected
    assert dataset.report.rows["truncated"] == sum(length == 9 for length in expected)
    assert all(dataset[row].input_ids[0] == BOS for row in range(len(dataset)))
    if policy != "skip":
        cut = dataset[1]
        text = TOKENIZER.decode(cut.input_ids)
        assert text == ("<s>bc00000</s>" if policy == "truncate_prompt" else "<s>abcabc00")
        assert dataset.prompt_ids(1) == cut.input_ids[~cut.supervised].tolist()
        assert dataset.report.supervised_tokens == sum(dataset[row].supervised.sum() for row in range(len(dataset)))


@pytest.mark.parametrize(("prompt", "kept"), [(7, 1), (8, 0), (20, 0)])
def test_truncating_the_end_leaves_out_rows_without_a_label(write, prompt: int, kept: int):
    """Nine tokens fit: BOS, `prompt` tokens, and of the completion what is left."""
    file = write({"prompt": "?" * prompt, "completion": "000"}, {"prompt": "a", "completion": "b"})
    dataset, _ = made(file, max_length=9, overlong="truncate")
    assert dataset.lengths.tolist() == [9] * kept + [4]
    assert dataset.report.rows["overlong"] == 1 - kept
    assert all(dataset[row].supervised[1:].any() for row in range(len(dataset)))


def test_a_quarter_of_long_rows_is_still_fine(write):
    dataset, _ = made(write(*rows(6, 6, 6, 20)), max_length=10)
    assert len(dataset) == 3
    with pytest.raises(Refusal, match="2 of 4 train rows are longer"):
        made(write(*rows(6, 6, 20, 20)), max_length=10)
    with pytest.raises(Refusal, match="not one of 1 rows fits"):
        made(write(*rows(20)), max_length=10, overlong="skip")


@given(
    st.lists(st.tuples(st.integers(2, 20), st.integers(0, 19)), min_size=1, max_size=20),
    st.integers(2, 12),
    st.integers(0, 1),
)
def test_truncating_the_prompt_never_costs_a_label(drawn, max_length: int, num_prefix: int):
    spans, first, start = np.zeros(len(drawn), SPAN), [], 100
    for row, (length, prompt) in enumerate(drawn):
        first.append(max(num_prefix, min(prompt, length - 1)))
        spans[row] = (0, row, start, 0, start, start + length)
        start += length
    fitted = fit(spans, np.array(first), max_length, "truncate_prompt", num_prefix)
    assert (span_lengths(fitted.spans) <= max_length).all()
    for span, row in zip(fitted.spans, fitted.kept, strict=True):
        whole = range(*spans[row][["start", "end"]].tolist())
        kept = [*range(span["start"], span["start"] + span["head"]), *range(span["cut"], span["end"])]
        labels = list(whole[first[row] :])
        assert kept[-len(labels) :] == labels
        assert len(kept) > len(labels) or first[row] == 0  # something predicts the first label
        assert kept[:num_prefix] == list(whole[:num_prefix])
    for row in set(range(len(drawn))) - set(fitted.kept.tolist()):
        assert drawn[row][0] - first[row] + max(num_prefix, 1) > max_length


@given(st.lists(st.integers(0, 30), max_size=60), st.floats(0.0, 0.9), st.integers(0, 3), st.randoms())
def test_the_split_is_a_function_of_content_and_seed(contents: list[int], share: float, seed: int, random):
    digests = np.array(contents, np.uint64)
    held = held_out(digests, share, seed)
    chosen = set(digests[held].tolist())
    assert chosen.isdisjoint(digests[~held].tolist())  # equal rows stand on one side
    shuffled = contents[:]
    random.shuffle(shuffled)
    again = np.array(shuffled, np.uint64)
    assert set(again[held_out(again, share, seed)].tolist()) == chosen
    assert held.any() == (share > 0 and len(set(contents)) > 1)
    assert not held.all() or not contents  # something is left to train on


def test_the_split_has_the_share_it_was_given():
    digests = np.arange(1000, dtype=np.uint64)
    assert [held_out(digests, share, 0).sum() for share in (0.0, 0.001, 0.05, 0.5)] == [0, 1, 50, 500]
    assert (held_out(digests, 0.5, 0) != held_out(digests, 0.5, 1)).any()


def test_train_and_eval_are_the_rows_and_prepare_gives_the_same(write):
    file = write(*rows(*[8] * 40))
    train, held = made(file, eval_split=0.2)
    assert held is not None
    assert len(train) == 32
    assert len(held) == 8
    assert sorted(texts(train) + texts(held)) == sorted(texts(made(file)[0]))
    section = DataSection(train=file, eval_split=0.2)
    alone = prepare(section, Renderer(TOKENIZER), max_length=64, split="eval")
    assert texts(alone) == texts(held)
    assert alone.hash == held.hash != train.hash
    assert held.report.split == "eval"
    assert held.report.rows["seen"] + train.report.rows["seen"] == 40


def test_eval_data_of_its_own(write):
    train, held = made(write(*rows(6, 7)), eval=write(*rows(8), name="held.jsonl"), eval_split=0.5)
    assert held is not None
    assert (len(train), len(held)) == (2, 1)
    with pytest.raises(Refusal, match=r"data\.eval: no data given"):
        prepare(DataSection(train=write(*rows(6)), eval_split=0.0), Renderer(TOKENIZER), max_length=64, split="eval")
    with pytest.raises(Refusal, match=r"data\.train: no data given"):
        made(None)


@pytest.mark.parametrize(("weight", "expected"), [(1.0, 10), (0.25, 3), (2.0, 20), (2.5, 25), (0.04, 0)])
def test_a_weight_takes_that_share_of_a_source(weight: float, expected: int):
    taken = repeated(10, weight, 0, 0)
    assert len(taken) == expected
    counts = np.bincount(taken, minlength=10)
    assert counts.max() - counts.min() <= 1
    assert repeated(10, weight, 0, 0).tolist() == taken.tolist()


def test_sources_are_mixed_by_weight(write):
    one, two = write(*rows(6, 7, 8, 9), name="a.jsonl"), write({"text": "xyz"}, {"text": "zyx"}, name="b.jsonl")
    sources = (Source(path=one, weight=0.5), Source(path=two, weight=3.0))
    dataset, _ = made(sources)
    assert [dataset[row].file for row in range(len(dataset))] == [one] * 2 + [two] * 6
    assert [source["format"] for source in dataset.report.sources] == ["completion", "text"]
    assert dataset.report.rows["kept"] == 6  # a row that is repeated counts once


def test_limit_counts_rows_over_the_sources(write):
    one, two = write(*rows(6, 7), name="a.jsonl"), write(*rows(8, 9), "{broken", name="b.jsonl")
    dataset, _ = made((Source(path=one), Source(path=two)), limit=3)
    assert dataset.lengths.tolist() == [6, 7, 8]
    assert made((Source(path=one), Source(path=two)), limit=1)[0].lengths.tolist() == [6]


def test_the_limits_of_training_and_evaluation_are_two(write):
    train, held = write(*rows(6, 7), name="a.jsonl"), write(*rows(8, 9, 10), name="b.jsonl")
    assert [len(part or ()) for part in made(train, eval=held, limit=1)] == [1, 3]
    assert [len(part or ()) for part in made(train, eval=held, eval_limit=2)] == [2, 2]


def test_rows_from_python():
    dataset, _ = made([{"text": "ab"}, {"text": "cd"}])
    assert texts(dataset) == ["<s>ab</s>", "<s>cd</s>"]
    assert (dataset[1].file, dataset[1].line) == ("data.train", 2)
    with pytest.raises(Refusal, match=r"data\.train:1: no format fits its columns \(question, answer\)"):
        made([{"question": "a", "answer": "b"}])


def test_pretraining_blocks_are_the_documents_end_to_end(write):
    documents = ["abc " * 7, "N", "ab. " * 11]
    dataset, _ = made(write(*({"text": text} for text in documents)), stage="pretrain", max_length=9)
    joined = [number for text in documents for number in [*TOKENIZER(text)["input_ids"], EOS]]
    blocks = [dataset[row].input_ids.tolist() for row in range(len(dataset))]
    assert [number for block in blocks for number in block] == joined[: len(joined) - (len(joined) % 9 == 1)]
    assert {len(block) for block in blocks[:-1]} == {9}
    assert all(dataset[row].supervised.all() for row in range(len(dataset)))
    starts = np.cumsum([0, *(len(TOKENIZER(text)["input_ids"]) + 1 for text in documents)])
    expected = [int(np.searchsorted(starts, 9 * row, side="right")) for row in range(len(dataset))]
    assert [dataset[row].line for row in range(len(dataset))] == expected


def test_pretraining_blocks_are_split_for_evaluation(write):
    file = write({"text": "".join(f"{number} " for number in range(500))})
    train, held = made(file, stage="pretrain", max_length=16, eval_split=0.1)
    assert held is not None
    whole, _ = made(file, stage="pretrain", max_length=16)
    assert sorted(texts(train) + texts(held)) == sorted(texts(whole))
    assert 0 < len(held) < 0.2 * len(whole)


def test_the_renderer_learns_what_kind_of_rows_it_serves(write):
    section = DataSection(
        train=write({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})
    )
    for _ in range(2):  # made, then found
        renderer = Renderer(TOKENIZER)
        prepare(section, renderer, max_length=64)
        assert renderer.kind == "messages"


def test_the_hash_tells_tokens_apart_and_not_files(write, tmp_path):
    first, _ = made(write(*rows(6, 7), name="a.jsonl"))
    same, _ = made(write(*rows(6, 7), "", name="b.jsonl"))
    other, _ = made(write(*rows(6, 8), name="c.jsonl"))
    assert first.hash == same.hash != other.hash
    pairs = [
        {"prompt": "a", "completion": "bc"},
        {"prompt": "ab", "completion": "c"},
        {"prompt": "ab", "completion": "N"},
    ]
    assert len({made([pair])[0].hash for pair in pairs}) == 3  # of one length; the first two of the same ids


def test_real_data_keeps_its_promises(shared, stories, tmp_path: Path):
    """gsm8k on a model of 512 positions: about one row in eight does not fit, and is counted."""
    from transformers import AutoTokenizer

    renderer = Renderer(AutoTokenizer.from_pretrained(stories))
    section = DataSection(
        train=str(shared / "data/gsm8k/train.jsonl"), columns={"prompt": "question", "completion": "answer"}, limit=600
    )
    train, held = prepare_splits(section, renderer, max_length=512, store_folder=tmp_path)
    assert held is not None
    lost = train.report.rows["overlong"] + held.report.rows["overlong"]
    assert 0.08 < lost / 600 < 0.16
    assert len(train) + len(held) + lost == 600
    for row in (0, len(train) // 2, len(train) - 1):
        segment, example = train[row], train.example(row)
        assert segment.input_ids[~segment.supervised].tolist() == renderer.prompt_ids(example)
        wanted = renderer.tokenizer.decode(segment.input_ids).replace("<s> ", "", 1)
        assert wanted == f"{example.prompt}{example.completion}</s>"


def test_a_file_without_rows_among_others_is_told(write, tmp_path, caplog):
    write({"prompt": "a", "completion": "b"}, name="one.jsonl")
    write(name="none.jsonl")
    renderer = Renderer(TOKENIZER)
    assert len(prepare(DataSection(train=str(tmp_path), eval_split=0), renderer, max_length=64)) == 1
    assert f"data.train: no row in {tmp_path / 'none.jsonl'}; the rows are those of the other files" in caplog.text
    caplog.clear()
    prepare(DataSection(train=str(tmp_path / "one.jsonl"), eval_split=0), renderer, max_length=64)
    assert caplog.text == ""

"""Arrays in files are the arrays that they would be in memory, and every pass over them finds the same rows."""

import json
import mmap
import os

import numpy as np
import pytest
from tests.zoo import tiny_tokenizer

from accorda.data import order as ordering
from accorda.data import spill, split, table
from accorda.data.order import keys, order
from accorda.data.prepare import prepare_splits
from accorda.data.renderer import Renderer
from accorda.data.sampler import Batches
from accorda.data.spill import forget, kept, pieces
from accorda.errors import Refusal
from accorda.recipe.sections import DataSection
from accorda.recipe.sources import Source


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Little is much."""
    monkeypatch.setattr(spill, "PIECE", 5)
    monkeypatch.setattr(spill, "LARGE", 64)
    monkeypatch.setattr(ordering, "RUN", 7)
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))


def mapped(array: np.ndarray) -> bool:
    return isinstance(getattr(array.base, "base", array.base), mmap.mmap) or isinstance(array, np.memmap)


def resident() -> int:
    """KB of this process's memory, mapped files among them."""
    with open("/proc/self/smaps_rollup", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Rss:"))


def test_what_is_large_stands_in_a_file_and_is_the_same(small, tmp_path):
    whole = np.arange(100, dtype=np.int64)
    found = kept((whole[start : start + 30] for start in range(0, 100, 30)), np.int64)
    assert mapped(found)
    assert found.tolist() == whole.tolist()
    assert not os.listdir(tmp_path / "cache" / "tokens")  # it has no name, so nothing can be left behind
    few = kept([whole[:3]], np.int64)
    assert not mapped(few)
    for array in (found, few):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert kept([], np.int64).shape == (0,)


def test_pieces_are_all_of_it_and_what_was_read_is_given_back():
    array = kept([np.arange(2**20)], np.int64)  # 8 MB
    assert mapped(array)

    before = resident()
    assert int(array.sum()) == sum(range(2**20))
    assert resident() - before > 6000  # kB
    assert sum(int(piece.sum()) for piece in pieces(array)) == sum(range(2**20))
    forget(array)
    assert resident() - before < 2000
    assert array[-1] == 2**20 - 1  # it can be read again


def test_a_full_disk_is_refused(small, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spill.tempfile, "TemporaryFile", full)
    with pytest.raises(Refusal, match=r"no index of the rows .*No space left.*ACCORDA_CACHE names another folder"):
        kept([np.zeros(100)], np.float64)


@pytest.mark.parametrize("n", [0, 1, 6, 7, 8, 14, 50, 333])
def test_an_order_out_of_many_stretches_is_the_order_of_the_keys(small, n: int):
    assert order(3, 2, n).tolist() == np.argsort(keys(3, 2, np.arange(n)), kind="stable").tolist()


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("different", [1, 2, 3, 40, 10**6])
def test_what_is_held_out_is_what_stands_first_by_key(small, share: float, different: int):
    """As one sort of all rows would find it: content by content until the share is reached, never all of it."""
    digests = np.random.default_rng(0).integers(0, different, 60).astype(np.uint64)
    contents = sorted(set(digests.tolist()), key=lambda one: int(keys(4, split.EVAL, np.array([one], np.uint64))[0]))
    wanted, chosen = max(1, int(share * 60 + 0.5)), set[int]()
    while contents[1:] and np.isin(digests, list(chosen)).sum() < wanted:
        chosen.add(contents.pop(0))
    assert split.held_out(digests, share, 4).tolist() == np.isin(digests, list(chosen)).tolist()


@pytest.mark.parametrize(
    ("stage", "weights", "settings"),
    [
        ("sft", (1, 1), {}),
        ("sft", (1, 1), {"eval_split": 0.2, "overlong": "truncate_prompt"}),
        ("sft", (1, 1), {"overlong": "skip"}),
        ("sft", (0.5, 2.5), {}),
        ("pretrain", (1, 1), {"eval_split": 0.3}),
    ],
)
def test_the_same_rows_whatever_size_is_large(stage: str, weights, settings: dict, monkeypatch, tmp_path):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    words = [{"prompt": "a" * (3 + row % 7), "completion": "b" * (1 + row % 11)} for row in range(60)]
    for name, some in {"a.jsonl": words[:40], "b.jsonl": words[33:]}.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    sources = tuple(
        Source(path=str(tmp_path / name), weight=one) for name, one in zip(["a.jsonl", "b.jsonl"], weights, strict=True)
    )
    section = DataSection(train=sources, **{"eval_split": 0.0, "overlong": "truncate", **settings})

    def told() -> list:
        found = []
        for rows in prepare_splits(section, Renderer(tiny_tokenizer()), max_length=14, stage=stage, seed=1):
            if rows is not None:
                batches = Batches(rows, batch_size=4, micro_tokens=40, packed=True)
                steps = [group.tolist() for step in range(30) for group in batches.groups(step)]
                ids = [rows[row].input_ids.tolist() for row in range(len(rows))]
                found.append((rows.report, rows.hash, rows.longest, rows.digests.tolist(), ids, steps))
        return found

    in_memory = told()
    monkeypatch.setattr(spill, "PIECE", 5)
    monkeypatch.setattr(spill, "LARGE", 64)
    monkeypatch.setattr(ordering, "RUN", 7)
    monkeypatch.setattr(table, "BLOCKS", 3)
    assert told() == in_memory
    assert in_memory[0][0].rows["kept"] > 0


@pytest.mark.parametrize(
    ("stage", "settings"), [("pretrain", {"max_length": 64}), ("sft", {"max_length": 30, "overlong": "truncate"})]
)
def test_no_file_of_tokens_stays_in_memory(stage: str, settings: dict, monkeypatch, tmp_path):
    """Eight million tokens, 32 MB of ids and 8 of flags, of which a report or a digest reads all."""
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    rows = "".join(json.dumps({"prompt": "ab", "completion": f"{row:04}" * 500}) + "\n" for row in range(4000))
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    how = {"max_length": settings["max_length"], "stage": stage}
    section = DataSection(train=str(tmp_path / "rows.jsonl"), eval_split=0.0, overlong=settings.get("overlong", "skip"))
    prepare_splits(section, Renderer(tiny_tokenizer()), **how)  # makes the files
    before = resident()
    train, _ = prepare_splits(section, Renderer(tiny_tokenizer()), **how)
    assert len(train) >= 4000
    assert resident() - before < 8000


def test_an_error_of_what_gives_the_stretches_is_not_the_disks(small):
    def broken():
        yield np.zeros(100)
        raise OSError(5, "of another file")

    with pytest.raises(OSError, match="of another file"):
        kept(broken(), np.float64)

"""Stored tokens are found by everything that decides them, and by nothing else; they are whole or absent."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from tests.zoo import tiny_tokenizer

from accorda.data import identity, store
from accorda.data.dataset import Dataset
from accorda.data.prepare import prepare
from accorda.data.renderer import Renderer
from accorda.data.sources import Origin
from accorda.errors import Refusal
from accorda.recipe.sections import DataSection

ROWS = b'{"prompt": "a", "completion": "b"}\n{"prompt": "c", "completion": "d"}\n'
TOKENIZER = tiny_tokenizer(chat_template=True, add_bos=True)


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROWS)
    return path


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """How many rows were encoded, call by call: nothing where the tokens were found."""
    calls = []
    original = Renderer.render_many

    def counting(self: Renderer, examples: Any) -> Any:
        calls.append(len(examples))
        return original(self, examples)

    monkeypatch.setattr(Renderer, "render_many", counting)
    return calls


def made(file: Path, renderer: Renderer | None = None, max_length: int = 64, **section: Any) -> Dataset:
    filled = DataSection(**{"train": str(file), "eval_split": 0.0, **section})
    return prepare(filled, renderer or Renderer(TOKENIZER), max_length=max_length, store_folder=file.parent / "cache")


def key_of(origin: Origin, renderer: Renderer) -> str:
    return identity.store_key(origin, origin.digest(), renderer, None)


def stores(file: Path) -> list[Path]:
    return sorted((file.parent / "cache" / "tokens").iterdir())


def test_the_second_time_nothing_is_encoded(file: Path, encoded: list[int]):
    first = made(file)
    assert encoded == [2]
    again = made(file)
    made(file, max_length=30, overlong="truncate", eval_split=0.5)  # none of this decides a row's tokens
    assert encoded == [2]
    assert again.hash == first.hash
    moved = file.rename(file.with_name("elsewhere.jsonl"))
    assert made(moved)[0].file == str(moved)
    assert encoded == [2]


def changed_template(renderer: Renderer) -> Renderer:
    tokenizer = tiny_tokenizer(True, True)
    tokenizer.chat_template += " "
    return Renderer(tokenizer)


def changed_tokenizer(renderer: Renderer) -> Renderer:
    tokenizer = tiny_tokenizer(True, True)
    tokenizer.add_tokens(["zebra"])
    return Renderer(tokenizer)


@pytest.mark.parametrize(
    "change",
    [
        changed_template,
        changed_tokenizer,
        lambda _: Renderer(tiny_tokenizer(True, False)),
        lambda _: Renderer(TOKENIZER, "plain"),
        lambda _: Renderer(TOKENIZER, supervise="last"),
        lambda _: Renderer(TOKENIZER, reasoning="none"),
    ],
)
def test_a_change_of_the_renderer_is_another_key(file: Path, encoded: list[int], change):
    made(file)
    made(file, change(None))
    assert encoded == [2, 2]
    assert len(stores(file)) == 2


@pytest.mark.parametrize("at", [0, len(ROWS) // 2, len(ROWS) - 1])
def test_a_change_of_one_byte_is_another_key(file: Path, encoded: list[int], at: int):
    origin, renderer = Origin("f", file), Renderer(TOKENIZER)
    before = key_of(origin, renderer)
    file.write_bytes(ROWS[:at] + bytes([ROWS[at] ^ 1]) + ROWS[at + 1 :])
    os.utime(file, (0, 0))  # times and sizes play no part
    assert key_of(origin, renderer) != before


@pytest.mark.parametrize(
    "section", [{"limit": 1}, {"format": "completion"}, {"columns": {"prompt": "completion", "completion": "prompt"}}]
)
def test_a_change_of_how_rows_are_read_is_another_key(file: Path, encoded: list[int], section: dict[str, Any]):
    made(file)
    made(file, **section)
    assert len(encoded) == 2


def test_the_ending_of_the_file_and_the_code_are_part_of_the_key(file: Path, monkeypatch):
    renderer = Renderer(TOKENIZER)
    keys = {key_of(Origin("f", file), renderer)}
    other = file.rename(file.with_suffix(".txt"))
    keys.add(key_of(Origin("f", other), renderer))
    monkeypatch.setattr(identity, "code_digest", lambda: "another version")
    keys.add(key_of(Origin("f", other), renderer))
    assert len(keys) == 3
    zipped = other.rename(other.with_suffix(".txt.gz"))
    assert key_of(Origin("f", zipped), renderer) in keys


def test_the_code_digest_reads_the_code(monkeypatch):
    listed = [name for name, _ in identity._files(identity.files("accorda.data"), "")]
    assert {"renderer.py", "turns.py", "formats/sharegpt.py", "templates/plain.jinja"} <= set(listed)
    identity.code_digest.cache_clear()
    before = identity.code_digest()
    monkeypatch.setattr(identity, "version", lambda name: "0")
    identity.code_digest.cache_clear()
    assert identity.code_digest() != before
    identity.code_digest.cache_clear()


@pytest.mark.parametrize("name", ["ids.bin", "supervised.bin", "examples.bin", "rows.bin", "meta.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_store_is_made_again(file: Path, encoded: list[int], caplog, name: str, harm: str):
    first = made(file)
    whole = first.hash
    target = stores(file)[0] / name
    content = bytearray(target.read_bytes())
    if harm == "remove":
        target.unlink()
    else:
        content[len(content) // 2] ^= 1
        target.write_bytes(content if harm == "flip" else content[:-1])
    if name == "meta.json" and harm == "flip":
        target.write_bytes(b"\x00")
    assert made(file).hash == whole
    assert encoded == [2, 2]
    assert "is damaged" in caplog.text
    assert len(stores(file)) == 1


def test_a_refused_or_broken_off_preparation_leaves_nothing(file: Path, monkeypatch):
    file.write_bytes(ROWS + b"{")
    with pytest.raises(Refusal, match="bad JSON"):
        made(file)
    assert stores(file) == []
    monkeypatch.setattr(Renderer, "render_many", lambda *_: 1 / 0)
    file.write_bytes(ROWS)
    with pytest.raises(ZeroDivisionError):
        made(file)
    assert stores(file) == []


def test_processes_that_make_the_same_store_do_not_disturb_each_other(file: Path, tmp_path):
    made(file)
    (whole,) = stores(file)
    content = {path.name: path.read_bytes() for path in whole.iterdir()}
    meta = {key: value for key, value in json.loads(content["meta.json"]).items() if key not in ("checksums", "digest")}
    root = store.store_root(tmp_path / "other")

    def slow(writer: store.Writer) -> dict[str, Any]:
        store.made("key", root, lambda writer: meta)  # the other one finishes first
        return meta

    assert len(store.made("key", root, slow)) == 0
    assert [path.name for path in root.iterdir()] == ["key"]


def test_what_killed_processes_left_is_swept_after_a_day(file: Path):
    made(file)
    root = file.parent / "cache" / "tokens"
    for name, age in (("old", 2 * store.DAY), ("new", 0.0)):
        left = root / f".{name}-x"
        left.mkdir()
        os.utime(left, (time.time() - age,) * 2)
    file.write_bytes(ROWS + b"\n")
    made(file)
    assert [path.name for path in root.glob(".*")] == [".new-x"]


def test_a_file_that_changes_between_its_digest_and_its_rows_is_refused(file: Path, monkeypatch):
    """Else the new rows would stand under the old file's key for good."""
    original = Origin.digest

    def late(self: Origin) -> str:
        digest = original(self)
        file.write_bytes(ROWS + b" ")
        return digest

    monkeypatch.setattr(Origin, "digest", late)
    with pytest.raises(Refusal, match="changed while it was read"):
        made(file)
    assert stores(file) == []


def test_a_file_that_changes_while_it_is_read_is_refused(file: Path, monkeypatch):
    original = Origin.read

    def changing(self: Origin) -> Any:
        yield from original(self)
        file.write_bytes(ROWS + b" ")

    monkeypatch.setattr(Origin, "read", changing)
    with pytest.raises(Refusal, match="changed while it was read"):
        made(file)
    assert stores(file) == []


def test_where_stores_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ACCORDA_CACHE", raising=False)
    assert store.store_root() == tmp_path / "home/.cache/accorda/tokens"
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "named"))
    assert store.store_root() == tmp_path / "named/tokens"
    assert store.store_root(tmp_path / "given") == tmp_path / "given/tokens"
    (tmp_path / "file").write_text("")
    with pytest.raises(Refusal, match="ACCORDA_CACHE"):
        store.store_root(tmp_path / "file")


def test_a_disk_that_is_full_is_refused_and_not_a_traceback(file: Path, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.Writer, "add", full)
    with pytest.raises(Refusal, match="No space left on device"):
        made(file)
    assert stores(file) == []

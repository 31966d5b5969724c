import hashlib
import json
import os
from pathlib import Path

import pytest

from accorda.runs.files import read_json, sha256, write_bytes, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_what_is_written_reads_back(tmp_path):
    write_json(tmp_path / "a", {"x": [1, float("nan"), {"y": float("inf")}], "é": "\u2028"})
    assert json.loads((tmp_path / "a").read_text()) == {"x": [1, None, {"y": None}], "é": "\u2028"}
    assert read_json(tmp_path / "a") == {"x": [1, None, {"y": None}], "é": "\u2028"}
    write_bytes(tmp_path / "b", b"\r\n\0")
    assert (tmp_path / "b").read_bytes() == b"\r\n\0"
    assert read_json(tmp_path / "b") is None
    assert read_json(tmp_path / "none") is None


def test_the_hash_of_a_folder_sees_names_and_contents(tmp_path: Path):
    (tmp_path / "f" / "g").mkdir(parents=True)
    (tmp_path / "f" / "g" / "x").write_bytes(b"1")
    assert sha256(tmp_path / "f" / "g" / "x") == hashlib.sha256(b"1").hexdigest()
    first = sha256(tmp_path / "f")
    (tmp_path / "f" / "g" / "x").rename(tmp_path / "f" / "x")
    moved = sha256(tmp_path / "f")
    (tmp_path / "f" / "x").write_bytes(b"2")
    assert len({first, moved, sha256(tmp_path / "f")}) == 3

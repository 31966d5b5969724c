"""A folder is replaced as a whole or not at all, also when a rename fails or the process dies between two renames."""

import os
from pathlib import Path

import pytest

from accorda.runs.replace import recover, replaced


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "deep" / "adapter"
    with replaced(folder) as new:
        (new / "a").write_text("old a")
        (new / "b").write_text("old b")
    return folder


def test_a_new_folder_takes_the_place_of_the_old_one(old: Path):
    with replaced(old) as new:
        (new / "sub").mkdir()
        (new / "sub" / "c").write_text("c")
        assert contents(old) == {"a": "old a", "b": "old b"}, "not before the block ends"
    assert contents(old) == {"sub/c": "c"}
    assert os.listdir(old.parent) == ["adapter"]


def test_a_block_that_raises_changes_nothing(old: Path):
    def half():
        with replaced(old) as new:
            (new / "a").write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert contents(old) == {"a": "old a", "b": "old b"}
    assert os.listdir(old.parent) == ["adapter"]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_rename_that_fails_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch, failing: int):
    calls, rename = [], os.rename

    def sometimes(source, target):
        calls.append(source)
        if len(calls) == failing:
            raise OSError("no")
        rename(source, target)

    monkeypatch.setattr(os, "rename", sometimes)
    with pytest.raises(OSError, match="no"), replaced(old) as new:
        (new / "a").write_text("new")
    assert contents(old) == {"a": "old a", "b": "old b"}
    assert os.listdir(old.parent) == ["adapter"]


def test_a_process_killed_between_the_renames_loses_nothing(old: Path, monkeypatch: pytest.MonkeyPatch):
    rename = os.rename

    def killed(source, target):
        if str(source).endswith(".new"):
            os._exit(9)
        rename(source, target)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(os, "rename", killed)
        with replaced(old) as new:
            (new / "a").write_text("new")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not old.exists()
    recover(old)
    assert contents(old) == {"a": "old a", "b": "old b"}
    with replaced(old) as new:
        (new / "a").write_text("new")
    assert contents(old) == {"a": "new"}
    assert os.listdir(old.parent) == ["adapter"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of descriptors are read from /proc")
def test_every_file_and_folder_is_synced_before_the_first_rename(old: Path, monkeypatch: pytest.MonkeyPatch):
    did, fsync, rename = [], os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda fd: (did.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    monkeypatch.setattr(os, "rename", lambda a, b: (did.append("rename"), rename(a, b)))
    with replaced(old) as new:
        (new / "sub").mkdir()
        (new / "sub" / "c").write_text("c")
        expected = {str(new), str(new / "sub"), str(new / "sub" / "c")}
    assert set(did[: did.index("rename")]) == expected
    assert did[-1] == str(old.parent)

from pathlib import Path

import pytest

from accorda.runs.crash import inside, run_of, write_crash_log


def failed(*folders: Path) -> Exception:
    def fail(rest: tuple[Path, ...]) -> None:
        if not rest:
            raise RuntimeError("boom é")
        with inside(rest[0]):
            fail(rest[1:])

    with pytest.raises(RuntimeError) as caught:
        fail(folders)
    return caught.value


def test_the_log_goes_into_the_innermost_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outer, inner = tmp_path / "outer", tmp_path / "inner"
    outer.mkdir()
    inner.mkdir()
    error = failed(outer, inner)
    assert run_of(error) == inner
    assert write_crash_log(error, ["train", "x.yaml"]) == inner / "crash.log"
    text = (inner / "crash.log").read_text()
    assert text.startswith("accorda train x.yaml\n")
    assert "RuntimeError: boom é" in text
    assert not (outer / "crash.log").exists()


def test_without_a_run_the_log_stays_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert write_crash_log(failed(), []) == Path("crash.log")
    assert write_crash_log(failed(tmp_path / "never made"), []) == Path("crash.log")
    assert (tmp_path / "crash.log").read_text().count("RuntimeError: boom") == 2


def test_no_place_for_the_log_is_no_second_crash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crash.log").mkdir()
    assert write_crash_log(failed(), []) is None

"""Trackers only watch: what they do, and what fails in them, never reaches the run."""

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from accorda.errors import Refusal
from accorda.runs.events import EventLog
from accorda.runs.layout import RunFolder
from accorda.training.trackers import follow
from accorda.training.trackers.contract import Tracker, metrics

WRITTEN: list[Mapping[str, Any]] = []
CLOSED: list[bool] = []


class Good(Tracker):
    package = "json"

    def __init__(self, run: Path, place: Path, settings: Mapping[str, Any]) -> None:
        assert place.is_dir()

    def write(self, event: Mapping[str, Any]) -> None:
        assert threading.current_thread() is not threading.main_thread()
        WRITTEN.append(event)

    def close(self, complete: bool) -> None:
        CLOSED.append(complete)


class FailsAtOnce(Good):
    def __init__(self, run: Path, place: Path, settings: Mapping[str, Any]) -> None:
        raise ConnectionError("no server")


class FailsLater(Good):
    def write(self, event: Mapping[str, Any]) -> None:
        raise ValueError("not a metric")


class Hangs(Good):
    def write(self, event: Mapping[str, Any]) -> None:
        time.sleep(3600)


@pytest.fixture(autouse=True)
def _fake_trackers(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"good": Good, "fails_at_once": FailsAtOnce, "fails_later": FailsLater, "hangs": Hangs}
    monkeypatch.setattr(follow, "trackers", lambda: kinds)
    monkeypatch.setattr(follow, "PAUSE", 0.01)
    WRITTEN.clear()
    CLOSED.clear()


def log_of(folder: RunFolder, first: int, last: int) -> None:
    log = EventLog(folder.events)
    for step in range(first, last + 1):
        log.append({"event": "step", "step": step, "loss": 1.0})
    log.close()


def test_every_event_arrives_once_in_order_also_across_a_resume(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with follow.following(["good"], folder, {}):
        log_of(folder, 1, 3)
        time.sleep(0.1)
        log_of(folder, 4, 5)
    with pytest.raises(KeyError), follow.following(["good"], folder, {}):
        log_and_fail(folder)
    assert [event["step"] for event in WRITTEN] == [1, 2, 3, 4, 5, 6]
    assert CLOSED == [True, False]


def test_a_half_written_line_waits_for_its_end(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with follow.following(["good"], folder, {}), folder.events.open("w") as file:
        file.write('{"event": "step", "st')
        file.flush()
        time.sleep(0.1)
        assert WRITTEN == []
        file.write('ep": 1}\n')
    assert WRITTEN == [{"event": "step", "step": 1}]


def log_and_fail(folder: RunFolder) -> None:
    log_of(folder, 6, 6)
    raise KeyError


@pytest.mark.parametrize("name", ["fails_at_once", "fails_later"])
def test_a_failing_tracker_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    folder = RunFolder(tmp_path)
    with caplog.at_level(logging.WARNING), follow.following([name, "good"], folder, {}):
        log_of(folder, 1, 4)
    assert [event["step"] for event in WRITTEN] == [1, 2, 3, 4]
    assert [record.message for record in caplog.records if name in record.message] == [
        f"the tracker {name} failed and is switched off: "
        + ("ConnectionError('no server')" if name == "fails_at_once" else "ValueError('not a metric')")
    ]


def test_a_hanging_tracker_does_not_hold_the_run_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "PATIENCE", 0.1)
    folder = RunFolder(tmp_path)
    log_of(folder, 1, 1)
    began = time.monotonic()
    with follow.following(["hangs"], folder, {}):
        time.sleep(0.05)
    assert time.monotonic() - began < 10
    assert "the tracker hangs is slow and is left behind" in caplog.text


def test_unknown_and_missing_trackers_are_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    follow.require(["good"])
    with pytest.raises(Refusal, match=r"no tracker 'god'; did you mean good\?"):
        follow.require(["god"])
    monkeypatch.setattr(Good, "package", "no_such_package")
    with pytest.raises(Refusal, match=r"good is not installed; pip install .*\[no_such_package\]'"):
        follow.require(["good"])


def test_numbers_get_names_that_say_where_they_are_from() -> None:
    step = {"event": "step", "step": 4, "loss": 1, "memory": None}
    assert metrics(step) == {"train/loss": 1.0}
    assert metrics({"event": "evaluation", "step": 4, "eval_loss": 2.5, "samples": ["a"]}) == {
        "evaluation/eval_loss": 2.5
    }
    assert metrics({"event": "checkpoint", "step": 4}) == {}

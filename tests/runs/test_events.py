import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accorda.errors import Refusal
from accorda.runs.events import EventLog, lines, read


def step(number: int, loss: float) -> dict[str, object]:
    return {"event": "step", "step": number, "loss": loss}


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "events.jsonl")


def test_events_come_back_in_order(log):
    assert read(log.path) == []
    for number in (1, 2):
        log.append(step(number, 0.5))
    log.append({"event": "evaluation", "step": 2, "eval_loss": math.nan})
    assert read(log.path) == [step(1, 0.5), step(2, 0.5), {"event": "evaluation", "step": 2, "eval_loss": None}]


@given(cut=st.integers(1, 30))
def test_a_torn_last_line_is_dropped_and_never_grown_onto(cut, tmp_path_factory):
    log = EventLog(tmp_path_factory.mktemp("log") / "events.jsonl")
    log.append(step(1, 0.5))
    log.append(step(2, 0.25))
    log.close()
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-cut])
    assert read(log.path)[0] == step(1, 0.5)
    before = len(read(log.path))
    assert before == (2 if cut == 1 else 1)  # a whole line that only lacks its end still counts
    log.append(step(3, 0.125))
    assert read(log.path) == [step(1, 0.5), step(3, 0.125)]
    assert all(json.loads(row) for row in log.path.read_text().splitlines())


def test_a_tail_of_zeros_is_a_torn_line(log):
    log.append(step(1, 0.5))
    log.close()
    with open(log.path, "ab") as file:
        file.write(b"\0" * 100)
    assert read(log.path) == [step(1, 0.5)]


def test_the_steps_that_a_resume_took_back_are_gone(log):
    for number in (1, 2, 3, 4, 5):
        log.append(step(number, 1.0))
    log.append({"event": "evaluation", "step": 4, "eval_loss": 9.0})
    log.append({"event": "resumed", "from": 3})
    log.append(step(4, 2.0))
    assert read(log.path) == [step(1, 1.0), step(2, 1.0), step(3, 1.0), {"event": "resumed", "from": 3}, step(4, 2.0)]
    assert len(lines(log.path)) == 8


def test_the_last_line_of_a_step_counts(log):
    log.append(step(1, 1.0))
    log.append(step(1, 2.0))
    log.append({"event": "note", "text": "a"})
    log.append({"event": "note", "text": "a"})
    assert read(log.path) == [step(1, 2.0), {"event": "note", "text": "a"}, {"event": "note", "text": "a"}]


def test_damage_in_the_middle_is_not_overlooked(log):
    log.path.write_text('{"event": "step", "step": 1}\n{"event"\n{"event": "step", "step": 2}\n')
    with pytest.raises(Refusal, match=r"events\.jsonl:2: not an event"):
        read(log.path)


def test_an_event_cannot_be_half_visible_to_a_reader(log):
    log.append({"event": "note", "text": "x" * 100_000})
    assert len(read(log.path)) == 1
    log.sync()

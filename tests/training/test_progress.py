import io
import re
from typing import Any

import pytest

from accorda.training import progress
from accorda.training.progress import Display, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def step(number: int, loss: float = 2.0, seconds: float = 0.5) -> dict[str, Any]:
    return {"event": "step", "step": number, "loss": loss, "tokens": 100, "seconds": seconds}


def test_in_a_pipe_a_line_at_first_every_ten_seconds_and_at_last() -> None:
    out, now = io.StringIO(), [0.0]
    display = Display(100, out, clock=lambda: now[0])
    for number in range(1, 101):
        now[0] += 0.5
        display(step(number))
    display.close()
    lines = out.getvalue().splitlines()
    assert [int(line.split()[1].split("/")[0]) for line in lines] == [1, 21, 41, 61, 81, 100]
    assert lines[0] == "step 1/100  mean loss 2.0000  200 tokens/s  0:50 left"


def test_evaluations_and_turns_are_lines() -> None:
    out = io.StringIO()
    display = Display(9, out)
    display({"event": "resumed", "from": 4})
    display({"event": "evaluation", "step": 5, "eval_loss": 1.25, "samples": ["x"]})
    display({"event": "stopped_early", "step": 7, "best": 5})
    display({"event": "checkpoint", "step": 7})
    assert out.getvalue().splitlines() == [
        "resumed from step 4",
        "step 5: eval_loss 1.2500",
        "stopped early after step 7; the best was step 5",
    ]


def test_on_a_terminal_a_bar_with_loss_speed_and_time() -> None:
    out = Terminal()
    display = Display(4, out)
    for number in (1, 2, 3):
        display(step(number, loss=1.5))
    display({"event": "evaluation", "step": 3, "eval_loss": 1.0})
    display.close()
    text = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", out.getvalue())
    assert "3/4" in text
    assert "mean loss 1.5000  200 tokens/s" in text
    assert "step 3: eval_loss 1.0000" in text


def test_loss_and_speed_are_smoothed() -> None:
    out = io.StringIO()
    display = Display(2, out)
    display(step(1, loss=2.0, seconds=0.5))
    display(step(2, loss=1.0, seconds=1.0))
    assert out.getvalue().splitlines()[1] == "step 2/2  mean loss 1.9000  190 tokens/s  0:00 left"


@pytest.mark.parametrize(("threads", "advised"), [(1, False), (2, True)])
def test_a_lasting_slow_down_is_told_once_and_a_short_one_not(threads, advised, monkeypatch) -> None:
    monkeypatch.setattr(progress, "get_num_threads", lambda: threads)
    out = io.StringIO()
    display = Display(400, out, clock=lambda: 0.0)
    usual, slow = [0.1] * 20, [2.0] * 60
    for number, seconds in enumerate([*usual, *[2.0] * 8, *usual, *slow, *usual, *slow], start=1):
        display(step(number, seconds=seconds))
        if number == 48:
            assert "as long as at first" not in out.getvalue()
    (line,) = [line for line in out.getvalue().splitlines() if "as long as at first" in line]
    assert line.startswith("steps take 20 times as long as at first: other programs may use the machine too")
    assert ("training.threads=1" in line) == advised


def test_answers_that_become_shorter_and_phases_that_begin_slowly_are_no_slow_down() -> None:
    out = io.StringIO()
    display = Display(200, out, clock=lambda: 0.0)
    for number in range(1, 201):
        seconds = 9.0 if number % 20 == 1 else 0.1
        display(step(number, seconds=seconds) | {"tokens": 1000 if number <= 40 else 50})
    assert "as long as at first" not in out.getvalue()


def test_durations() -> None:
    assert [duration(s) for s in (0, 59.6, 3725)] == ["0:00", "1:00", "1:02:05"]

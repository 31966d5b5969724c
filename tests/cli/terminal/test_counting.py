import io

import pytest

from accorda.cli.terminal.counting import Counting
from accorda.generation.progress import part, tell, watched


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def counted(stream, seconds):
    now = [0.0]
    count = Counting(stream, lambda: now[0])
    for done in range(1, 7):
        now[0] += seconds
        count("base: answers", done, 6)
    count.close()
    return stream.getvalue()


def test_a_pipe_gets_a_line_every_ten_seconds_and_short_work_none():
    assert counted(io.StringIO(), 4.0).splitlines() == ["base: answers 3/6", "base: answers 6/6"]
    assert counted(io.StringIO(), 1.0) == ""


def test_a_terminal_gets_one_line_that_goes_away():
    text = counted(Screen(), 1.0)
    assert text.count("\r") == 8
    assert "\n" not in text
    assert "base: answers 6/6" in text
    assert text.endswith("\r" + " " * len("base: answers 6/6") + "\r")


def test_parts_stand_in_front_and_nobody_hears_without_asking():
    heard = []
    with watched(lambda *told: heard.append(told)):
        tell("rows", 1, 2)
        with part("base"):
            tell("rows", 2, 2)
    tell("rows", 3, 3)
    with part("base"):
        tell("rows", 3, 3)
    assert heard == [("rows", 1, 2), ("base", 0, 0), ("base: rows", 2, 2)]


@pytest.mark.parametrize("parts", [True, False])
def test_long_work_has_a_line_for_each_part(parts):
    stream = io.StringIO()
    with watched(Counting(stream, lambda: 0.0, parts=parts)):
        for name in ("base", "tuned"):
            with part(name):
                tell("rows", 1, 1)
    assert stream.getvalue() == ("base\ntuned\n" if parts else "")

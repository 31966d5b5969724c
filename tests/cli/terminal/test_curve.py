"""The drawn curve: its bounds, its shape, its size."""

from accorda.cli.terminal.curve import BRAILLE, curve


def filled(line: str) -> list[int]:
    return [at for at, char in enumerate(line) if BRAILLE < ord(char) <= BRAILLE + 0xFF]


def test_a_falling_line_falls():
    lines = curve([(0, 10.0), (100, 0.5)], "steps", width=20, height=5).splitlines()
    drawn = [filled(line) for line in lines[:5]]
    assert all(drawn)
    assert [min(row) for row in drawn] == sorted(min(row) for row in drawn)
    assert max(drawn[-1]) - min(drawn[0]) == 19
    assert lines[0].lstrip().startswith("10 ")
    assert lines[4].lstrip().startswith("0.5 ")
    assert lines[-1].rstrip().endswith("100 steps")
    assert len(lines) == 7


def test_a_corner_stands_where_it_is():
    lines = curve([(0, 0.0), (50, 0.0), (51, 1.0), (100, 1.0)], "steps", width=40, height=4).splitlines()
    margin = lines[0].index("┤") + 1
    assert max(filled(lines[3])) - margin in (19, 20, 21)
    assert min(filled(lines[0])) - margin in (19, 20, 21)


def test_flat_and_too_few():
    assert curve([(0, 1.0)], "steps") == ""
    assert curve([], "steps") == ""
    assert any(filled(line) for line in curve([(0, 1.0), (1, 1.0)], "steps").splitlines())


def test_heights_of_losses_are_logarithms():
    lines = curve([(0, 1.0), (50, 10.0), (100, 100.0)], "steps", width=40, height=5).splitlines()
    middle = filled(lines[2])
    margin = lines[0].index("┤") + 1
    assert min(middle) - margin in range(14, 20)
    assert max(middle) - margin in range(20, 26)

"""Charts: the numbers on the page are the numbers of the run."""

import xml.etree.ElementTree as ElementTree

import pytest

from accorda.runs.curves import HEIGHT, Chart, Line, running_mean, scale, stops, thinned


def drawn(*lines: Line, **settings) -> ElementTree.Element:
    """The figure, parsed."""
    return ElementTree.fromstring(Chart(title="Loss", unit="nats", lines=lines, **settings).html())


def ticks(figure: ElementTree.Element) -> list[tuple[float, float]]:
    """(height in pixels, value) of the numbers at the upward axis."""
    found = [text for text in figure.iter("text") if text.get("text-anchor") == "end" and text.get("x") == "-8"]
    return [(float(text.get("y", "")) - 4, float((text.text or "").replace("k", "e3"))) for text in found]


def values(figure: ElementTree.Element, kind: str = "c0") -> list[tuple[float, float]]:
    """The points of a line as (share of the way across, value), read off the axis's own numbers."""
    (low_y, low), *_, (high_y, high) = ticks(figure)
    line = next(item for item in figure.iter("polyline") if item.get("class") == kind)
    pairs = [tuple(map(float, pair.split(","))) for pair in line.get("points", "").split()]
    per_pixel = (high - low) / (high_y - low_y)
    return [(x / 1000, low + (y / 1000 * HEIGHT - low_y) * per_pixel) for x, y in pairs]


@pytest.mark.parametrize("zero", [False, True])
def test_a_curve_is_where_its_numbers_are(zero):
    points = [(0, 3.25), (5, 10.0), (20, 5.5)]
    figure = drawn(Line(name="a", points=points), zero=zero)
    found = values(figure)
    assert [x for x, _ in found] == pytest.approx([0, 0.25, 1], abs=1e-3)
    assert [y for _, y in found] == pytest.approx([3.25, 10, 5.5], abs=0.05)
    assert (min(value for _, value in ticks(figure)) == 0) == zero


def test_heights_are_logarithmic_where_values_differ_much():
    figure = drawn(Line(name="a", points=[(0, 20.0), (1, 2.0), (2, 0.2)]), decades=True)
    line = next(item for item in figure.iter("polyline") if item.get("class") == "c0")
    assert [pair.split(",")[1] for pair in line.get("points", "").split()] == ["0.0", "500.0", "1000.0"]
    assert [value for _, value in ticks(figure)] == [0.2, 0.5, 1, 2, 5, 10, 20]
    assert "a 20" in "".join(figure.itertext())  # the pointer still tells the value itself
    near = drawn(Line(name="a", points=[(0, 5.0), (1, 2.0)]), decades=True)
    assert [value for _, value in ticks(near)] == [2, 3, 4, 5]
    below = drawn(Line(name="a", points=[(0, 5.0), (1, 0.0)]), decades=True)
    assert ticks(below)[0][1] == 0


def test_several_lines_share_their_axes():
    low = Line(name="low", points=[(0, 1.0), (10, 2.0)])
    high = Line(name="high", points=[(10, 80.0), (40, 100.0)], look="dots")
    figure = drawn(low, high)
    assert [y for _, y in values(figure, "c0")] == pytest.approx([1, 2], abs=0.5)
    assert values(figure, "c1") == [(pytest.approx(0.25), pytest.approx(80, abs=0.5)), (1, pytest.approx(100, abs=0.5))]
    assert len(list(figure.iter("circle"))) == 2
    assert "".join(figure.itertext()).count("high") >= 2  # in the legend and under the pointer


def test_an_interval_is_drawn_around_its_line():
    figure = drawn(Line(name="a", points=[(0, 5.0), (10, 5.0)], bounds=[(0, 0.0, 10.0), (10, 4.0, 6.0)]))
    [band] = figure.iter("polygon")
    heights = [float(pair.split(",")[1]) for pair in band.get("points", "").split()]
    assert heights == [1000, 600, 400, 0]


def test_a_level_goes_all_across_and_counts_for_the_axis():
    figure = drawn(Line(name="a", points=[(1, 1.0), (9, 2.0)]), Line(name="bill", points=[(0, 8.0)], look="level"))
    [level] = [line for line in figure.iter("polyline") if "level" in line.get("class", "")]
    assert level.get("points", "").split()[0].startswith("0,")
    assert max(value for _, value in ticks(figure)) >= 8
    assert Chart(title="", unit="", lines=[Line(name="bill", points=[(0, 8.0)], look="level")]).html() == ""


def test_nothing_and_a_single_point():
    assert Chart(title="Loss", unit="", lines=[Line(name="a", points=[])]).html() == ""
    figure = drawn(Line(name="a", points=[(1, 2.0)]))
    assert len(list(figure.iter("circle"))) == 1


def test_the_pointer_finds_every_value_of_a_short_run_and_some_of_a_long_one():
    figure = drawn(Line(name="training", points=[(step, step / 4) for step in range(1, 6)]))
    titles = [title.text for title in figure.iter("title")]
    assert titles == [f"step {step}: training {step / 4:g}" for step in range(1, 6)]
    long = [Line(name="a", points=[(float(step), 1.0) for step in range(5000)])]
    assert stops(long, scale(0, 4999)).count("<rect") == 48
    shares = [float(rect.get("width", "").strip("%")) for rect in figure.iter("rect")]
    assert sum(shares) == pytest.approx(100, abs=0.1)


def test_the_last_step_stands_at_the_end():
    figure = drawn(Line(name="a", points=[(1, 2.0), (135, 3.0)]), steps=(0, 135))
    assert "step 135" in [text.text for text in figure.iter("text")]
    assert "Loss: a 2 at step 1, 3 at step 135" in (next(figure.iter("svg")).get("aria-label") or "")


def test_a_line_that_jumps_is_drawn_twice():
    points = [(float(step), 1.0 + (-1) ** step) for step in range(100)]
    figure = drawn(Line(name="a", points=points, jumps=True))
    assert [line.get("class") for line in figure.iter("polyline")] == ["thin c0", "c0"]
    assert all(0.5 < value < 1.5 for _, value in values(figure)[5:-5])


def test_the_running_mean_is_the_mean_of_what_is_around():
    points = [(float(n), float(n * n)) for n in range(20)]
    means = running_mean(points)
    assert means[0] == points[0]
    assert means[-1] == points[-1]
    assert means[10] == (10.0, pytest.approx(sum(n * n for n in range(8, 13)) / 5))


def test_thinning_keeps_peaks_and_ends():
    points = [(float(step), 1000.0 if step == 777 else 1.0) for step in range(100_000)]
    kept = thinned(points)
    assert len(kept) < 500
    assert (777.0, 1000.0) in kept
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert kept == sorted(kept)


@pytest.mark.parametrize("room", [False, True])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-5, 5), (1e-9, 3e-9), (0.1, 0.1), (0, 0), (-3, -3), (99999, 1e9)])
def test_marks_are_few_and_inside(low, high, room):
    first, last, marks, _ = scale(low, high, room=room)
    slack = (last - first) * 1e-6
    assert first - slack <= low <= high <= last + slack
    assert 2 <= len(marks) <= 8
    assert all(first - slack <= mark <= last + slack for mark in marks)


def test_a_value_of_an_earlier_step_says_of_which():
    lines = (
        Line(name="training", points=[(step, 1.0 / step) for step in (1, 2, 4)]),
        Line(name="held out", points=[(1, 3.0), (4, 2.0)], look="dots"),
    )
    told = [title.text for title in drawn(*lines).iter("title")]
    assert told == [
        "step 1: training 1, held out 3",
        "step 2: training 0.5, held out 3 (of step 1)",
        "step 4: training 0.25, held out 2",
    ]

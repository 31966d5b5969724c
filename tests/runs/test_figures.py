"""Numbers for people."""

from accorda.runs.figures import duration, number, share, short, size


def test_numbers_are_short_enough_for_an_axis():
    wanted = {
        0: "0",
        0.5: "0.5",
        1234: "1234",
        5000: "5k",
        12_345: "12.35k",
        2e-5: "2e-5",
        1.5e9: "1.5G",
        -0.25: "-0.25",
    }
    assert {value: short(value) for value in wanted} == wanted


def test_counts_and_measures():
    assert [number(value) for value in (0, 7, 1234567, 0.123456, 12345.6)] == [
        "0",
        "7",
        "1,234,567",
        "0.1235",
        "12,346",
    ]
    assert number(float("inf")) == "inf"


def test_sizes_are_powers_of_ten():
    assert [size(value) for value in (12, 68_070_000, 999_600_000, 1.5e9, 2e12)] == [
        "12 B",
        "68.1 MB",
        "1,000 MB",
        "1.5 GB",
        "2 TB",
    ]


def test_durations():
    assert [duration(value) for value in (0.84, 34.4, 59.7, 723, 3840)] == [
        "0.8 s",
        "34 s",
        "1 min 0 s",
        "12 min 3 s",
        "1 h 4 min",
    ]


def test_shares():
    assert [share(1, 2), share(1, 300), share(0, 5), share(3, 0)] == ["50%", "0.33%", "0%", "0%"]

"""The sweep over learning rates: which rate comes next, which is best, what the table says of it."""

import json
import math

import pytest
from benchmarks.__main__ import names
from benchmarks.methods import cells, final, grid, long, page, table


def tried(loss, guess, wanted=grid.NUM_RATES):
    """Every rate that a sweep over this loss tries, in order."""
    losses = {}
    while (rate := grid.next_rate(guess, losses, wanted)) is not None:
        assert rate not in losses
        losses[rate] = loss(rate)
    return losses


def away_from(best):
    return lambda rate: abs(math.log10(rate / best))


def test_the_grid_is_one_and_three_times_each_power_of_ten():
    assert [grid.step(1e-3, places) for places in (-2, -1, 0, 1, 2)] == [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
    assert grid.step(3e-4, 1) == 1e-3


def test_the_guess_comes_first_then_its_neighbours_then_the_better_side():
    assert list(tried(away_from(1.1e-3), 1e-3)) == [1e-3, 3e-4, 3e-3, 1e-2, 3e-2]
    assert list(tried(away_from(0.9e-3), 1e-3)) == [1e-3, 3e-4, 3e-3, 1e-4, 3e-5]
    assert list(tried(away_from(1.1e-3), 1e-3, wanted=3)) == [1e-3, 3e-4, 3e-3]


def test_a_best_rate_at_the_edge_is_followed_but_not_for_ever():
    followed = tried(away_from(3e-2), 1e-3, wanted=3)
    assert list(followed) == [1e-3, 3e-4, 3e-3, 1e-2, 3e-2, 1e-1]
    assert not grid.at_edge(followed)
    assert list(tried(away_from(1e-4), 1e-3, wanted=3)) == [1e-3, 3e-4, 3e-3, 1e-4, 3e-5]
    endless = tried(lambda rate: -rate, 1e-3)
    assert len(endless) == grid.MOST_RATES
    assert grid.at_edge(endless)


def cell(rate, loss, method="rslora", day="2026-01-01"):
    return {"stage": "sft", "method": method, "rate": rate, "eval_loss": loss, "date": day}


def test_cells_are_read_back_and_a_run_that_broke_is_never_the_best(tmp_path):
    found = [cell(1e-3, 2.0), cell(3e-3, None), cell(1e-2, math.nan), cell(1e-3, 0.5, "dora")]
    for each in found:
        cells.write(cells.path_of(tmp_path, each), each)
    read = cells.read(tmp_path / "sft")
    assert sorted(path.name for path in (tmp_path / "sft").iterdir())[1] == "rslora-0.001.json"
    assert cells.losses(read, "rslora") == {1e-3: 2.0, 3e-3: math.inf, 1e-2: math.inf}
    assert grid.best(cells.losses(read, "rslora")) == 1e-3


BASE_LOSS = 10.0


def test_the_table_says_where_a_rate_is_from():
    between = [cell(3e-4, 2.0), cell(1e-3, 1.0), cell(3e-3, 1.5, day="2026-01-02")]
    edge = [cell(rate, 1 - 100 * rate, "dora") for rate in (3e-4, 1e-3, 3e-3)]
    few = [cell(1e-3, 1.0, "ia3")]
    found = table.found_at_sft(between + edge + few, BASE_LOSS)["rates"]
    assert set(found) == {"rslora", "dora"}
    assert found["rslora"]["rate"] == 1e-3
    assert found["rslora"]["origin"].startswith("the lowest loss of 3 rates on the bundled model")
    assert found["rslora"]["origin"].endswith("2026-01-02")
    assert found["dora"]["origin"].startswith("at the edge of the 3 rates")


def test_a_method_that_moved_no_loss_has_no_rate():
    still = [cell(rate, 9.95 - rate, "rows") for rate in (3e-4, 1e-3, 3e-3)]
    moved = [cell(rate, 9.85 - rate) for rate in (3e-4, 1e-3, 3e-3)]
    found = table.found_at_sft(still + moved, BASE_LOSS)
    assert set(found["rates"]) == {"rslora"}
    assert found["unlearned"]["rows"]["why"].startswith("at none of 3 rates did it lower the loss of the bundled model")


SHORT = [cell(rate, loss) for rate, loss in ((3e-4, 0.6), (1e-3, 0.5), (3e-3, 0.4), (1e-2, 0.7), (3e-2, 0.7))]
PROBE = {"method": long.PROBE, "seed": 0, "rate": None, "accuracy": 0.7, "date": "2026-01-01"}


def run(rate, accuracy, method="rslora", seed=0):
    """A long run with its accuracy on dev."""
    return {"method": method, "seed": seed, "rate": rate, "accuracy": accuracy, "date": "2026-01-01"}


def test_long_runs_look_at_the_best_short_rate_and_two_places_below_it_for_every_method():
    others = [each | {"method": "pissa"} for each in SHORT]
    assert long.wanted(["rslora"], SHORT, []) == [
        (long.PROBE, 0, None),
        *(("rslora", 0, r) for r in (3e-3, 1e-3, 3e-4)),
    ]
    assert [rate for _, _, rate in long.wanted(["pissa"], others, [])] == [None, 3e-3, 1e-3, 3e-4]
    assert long.wanted(["rslora"], SHORT[:4], []) == [(long.PROBE, 0, None)], "the short sweep is not done"


def test_the_highest_accuracy_on_dev_has_the_rate_and_the_lower_rate_of_two_alike():
    runs = [run(3e-3, 0.5), run(1e-3, 0.8), run(3e-4, 0.75)]
    assert long.chosen("rslora", SHORT, runs) == 1e-3
    assert long.chosen("rslora", SHORT, [run(3e-3, 0.8), run(1e-3, 0.8), run(3e-4, 0.75)]) == 1e-3
    broken = [run(3e-3, None), run(1e-3, 0.5), run(3e-4, 0.5)]
    assert long.chosen("rslora", SHORT, broken) is None, "a lower rate may be better still"
    assert long.chosen("rslora", SHORT, [*broken, run(1e-4, 0.4)]) == 3e-4
    assert long.chosen("rslora", SHORT, runs[:2]) is None, "a run is missing"
    others = [run(1e-2, 0.99), run(3e-3, 0.9, seed=1), run(3e-4, 0.9, method="dora")]
    assert long.chosen("rslora", SHORT, [*runs, *others]) == 1e-3, (
        "rates, seeds and methods that are not its candidates"
    )


@pytest.mark.parametrize(
    ("rates", "better"), [((3e-3, 1e-3, 3e-4, 1e-4, 3e-5), -1), ((3e-3, 1e-3, 3e-4, 1e-2, 3e-2), 1)]
)
def test_long_runs_go_further_out_while_the_best_rate_is_at_an_edge_but_not_for_ever(rates, better):
    runs = [run(rate, 0.8 + better * rate) for rate in rates]
    for known, rate in ((3, rates[3]), (4, rates[4])):
        assert long.wanted(["rslora"], SHORT, runs[:known])[-1] == ("rslora", 0, rate)
        assert long.chosen("rslora", SHORT, runs[:known]) is None
    assert long.wanted(["rslora"], SHORT, runs)[1:] == [("rslora", 0, rate) for rate in rates]
    assert long.chosen("rslora", SHORT, runs) == rates[4]


def test_a_place_above_that_is_no_better_ends_the_search():
    runs = [run(3e-3, 0.8), run(1e-3, 0.7), run(3e-4, 0.7)]
    assert long.wanted(["rslora"], SHORT, runs)[-1] == ("rslora", 0, 1e-2)
    assert long.chosen("rslora", SHORT, [*runs, run(1e-2, None)]) == 3e-3


@pytest.mark.parametrize(
    ("above", "tried"),
    [
        ([0.85, 0.6, 0.82], True),
        ([0.85, None, 0.82], True),
        ([0.79, 0.6, 0.78], False),  # the sound seeds are no better than the best rate
        ([0.85, 0.71, 0.82], False),  # worse, but above the probe
        ([0.6, None, 0.6], False),  # nothing is sound
        ([0.9, 0.9, 0.9], False),  # the place above is the best itself, and nothing is sound above that
    ],
)
def test_halfway_is_tried_where_only_broken_seeds_keep_the_place_above_from_being_the_best(above, tried):
    short = [each | {"method": "lora"} for each in SHORT]
    runs = [run(rate, accuracy, "lora", seed) for rate, accuracy in ((1e-3, 0.8), (3e-4, 0.75)) for seed in range(3)]
    runs += [run(3e-3, accuracy, "lora", seed) for seed, accuracy in enumerate(above)]
    runs += [run(1e-2, 0.5, "lora", seed) for seed in range(3)]
    wanted = [each for each in long.wanted(["lora"], short, [PROBE, *runs]) if each[2] == 2e-3]
    assert wanted == [("lora", seed, 2e-3) for seed in range(3) if tried]
    better = [run(2e-3, 0.81, "lora", seed) for seed in range(3)]
    assert long.chosen("lora", short, [PROBE, *runs, *better]) == (
        2e-3 if tried else grid.most_accurate(long.means("lora", runs))
    )


def test_no_choice_reads_a_score_on_test():
    """The rule is handed cells of dev alone; with scores on test beside them it says the same."""
    runs = [run(3e-3, 0.5) | {"test": 0.99}, run(1e-3, 0.8) | {"test": 0.1}, run(3e-4, 0.75) | {"test": 0.5}]
    assert long.chosen("rslora", SHORT, runs) == 1e-3
    asked = {row["label"] for row in unlabelled()}
    assert asked == {"negative"}, "a run is not given the labels of test"


def unlabelled():
    """What a run is asked behind the sentences of dev, on invented splits."""
    splits = {
        "train": [{"text": "a", "label": "positive"}],
        "dev": [{"text": "b", "label": "positive"}],
        "test": [{"text": "c", "label": "positive"}, {"text": "d", "label": "negative"}],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long, "sentences", splits.__getitem__)
        patch.setattr(long, "encoder", lambda: "nowhere")
        data = long.settings("rslora", 1e-3, 0)["data"]
    assert data["eval"][0] == splits["dev"][0]
    return data["eval"][1:]


def test_a_classifier_that_does_no_better_than_the_probe_has_no_rate():
    rates = (3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
    high, low = [run(rate, 0.71) for rate in rates], [run(rate, 0.7) for rate in rates]
    found = table.found_at_classify(SHORT, [PROBE, *high])
    assert found["rates"]["rslora"]["rate"] == 3e-5
    assert found["rates"]["rslora"]["origin"].startswith(
        "the best on dev of 5 rates, the lowest of them, on MiniLM (22M)"
    )
    found = table.found_at_classify(SHORT, [PROBE, *low])
    assert (found["rates"], list(found["unlearned"])) == ({}, ["rslora"])
    assert table.found_at_classify(SHORT, high) == {"rates": {}, "unlearned": {}}, "the probe is missing"


def test_what_was_found_replaces_all_that_the_table_said_of_a_method():
    whole = {"middle": {"rates": {"classify": {"rslora": {"rate": 1}, "ia3": {"rate": 2}}}}}
    table.put(whole, "classify", {"rates": {"dora": {"rate": 3}}, "unlearned": {"rslora": {"why": "nothing"}}})
    assert whole["middle"]["rates"]["classify"] == {"dora": {"rate": 3}, "ia3": {"rate": 2}}
    assert whole["middle"]["unlearned"]["classify"] == {"rslora": {"why": "nothing"}}


@pytest.mark.parametrize("stage", table.SIZES)
def test_the_committed_table_holds_what_the_committed_cells_say(stage):
    committed = json.loads(table.TABLE.read_text(encoding="utf-8"))
    before = json.loads(json.dumps(committed))
    table.put(committed, stage, table.measured()[stage])
    assert committed == before


def test_the_first_methods_run_with_several_seeds_and_their_mean_chooses():
    """One lucky seed does not choose a rate at which another breaks down."""
    short = [each | {"method": name} for each in SHORT for name in ("lora", "rslora")]
    wanted = [each for each in long.wanted(["lora", "rslora"], short, []) if each[0] != long.PROBE]
    assert sorted(wanted) == sorted(
        [("lora", seed, rate) for seed in range(3) for rate in (3e-3, 1e-3, 3e-4)]
        + [("rslora", 0, rate) for rate in (3e-3, 1e-3, 3e-4)]
    )
    found = {3e-3: (0.9, 0.9, 0.5), 1e-3: (0.8, 0.8, 0.8), 3e-4: (0.7, None, 0.9)}
    runs = [run(rate, of_seed[seed], "lora", seed) for rate, of_seed in found.items() for seed in range(3)]
    assert long.chosen("lora", short, runs) == 1e-3
    assert long.accuracies("lora", short, runs) == pytest.approx({3e-3: 2.3 / 3, 1e-3: 0.8, 3e-4: 1.6 / 3})
    assert long.chosen("lora", short, runs[:-1]) is None, "a run is missing"


def test_answers_are_scored_against_the_labels_of_test():
    found = final.accuracy("1100", [1, 0, 0, 0])
    assert (found["accuracy"], found["tested"]) == (0.75, 4)
    assert found["interval"][0] < 0.75 < found["interval"][1]
    with pytest.raises(ValueError, match="zip"):
        final.accuracy("110", [1, 0, 0, 0])


def test_only_runs_at_chosen_rates_are_scored(tmp_path, monkeypatch):
    monkeypatch.setattr(long, "FOLDER", tmp_path / "long")
    monkeypatch.setattr(long, "ANSWERS", tmp_path / "answers")
    monkeypatch.setattr(final, "FOLDER", tmp_path / "final")
    monkeypatch.setattr(final, "sentences", lambda split: [{"label": "positive"}, {"label": "negative"}])
    monkeypatch.setattr(long, "short_cells", lambda: SHORT)
    for each in [PROBE, run(3e-3, 0.5), run(1e-3, 0.8), run(3e-4, 0.75)]:
        cells.write(long.FOLDER / f"{long.name_of(each['method'], each['seed'], each['rate'])}.json", each)
    for name, answers in {"linear_probe-0": "00", "rslora-0.001-0": "10", "rslora-0.003-0": "11"}.items():
        cells.write_text(long.ANSWERS / f"{name}.txt", answers + "\n")
    final.score(["rslora", "krona"])
    found = {path.stem: cells.one(path) for path in final.FOLDER.iterdir()}
    assert {name: each["accuracy"] for name, each in found.items()} == {"linear_probe-0": 0.5, "rslora-0": 1}
    assert {name: each["dev"] for name, each in found.items()} == {"linear_probe-0": 0.7, "rslora-0": 0.8}


def test_seeds_are_averaged_and_sorted_by_accuracy():
    runs = [{"method": "a", "seed": seed, "accuracy": x, "dev": x / 2} for seed, x in ((1, 0.8), (0, 0.6))]
    rows = final.summary([*runs, {"method": "b", "seed": 0, "accuracy": 0.9, "dev": 0.5, "rate": 0.1}])
    assert [row["method"] for row in rows] == ["b", "a"]
    assert (rows[1]["accuracy"], rows[1]["dev"]) == (pytest.approx(0.7), pytest.approx(0.35))
    assert (rows[1]["range"], rows[1]["seeds"], rows[0]["rate"]) == ([0.6, 0.8], 2, 0.1)


def test_a_package_is_a_benchmark_too():
    assert {"methods", "bill"} <= set(names())
    assert "results" not in names()


def test_the_page_is_written_between_its_marks(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    page.PAGE.write_text(f"before\n{page.BEGIN}old\n{page.END}after\n")
    monkeypatch.setattr(page, "text", lambda: "new\n")
    page.write()
    assert page.PAGE.read_text() == f"before\n{page.BEGIN}new\n{page.END}after\n"


def test_the_committed_page_says_what_the_committed_cells_say():
    assert f"{page.BEGIN}{page.text()}{page.END}" in page.PAGE.read_text(encoding="utf-8")


def test_the_page_tells_of_rounded_weights():
    cell = {"tested": 9, "gpu": None, "date": "2026-01-01"}
    assert "rounded" in page.how([cell | {"weights": ["BF16", "F32"]}])
    assert "rounded" not in page.how([cell | {"weights": ["F32"]}])


def test_a_row_of_the_page():
    count = {"trained": 1000, "kept": 500}
    row = {
        "method": "rslora",
        "rate": 3e-4,
        "dev": 0.812,
        "range": [0.8, 0.85],
        "interval": [0.79, 0.84],
        "memory": 3e8,
    }
    told = page.line(row | {"seeds": 3, "accuracy": 0.8251, "parameters": count, "training_seconds": 30.9})
    assert told == (
        "| `rslora` | 0.0003 | 3 | 81.2% | 82.5% (80.0 to 85.0) | 79.0 to 84.0 | 1,000 | 500 | 31 | 0.30 GB |\n"
    )
    probe = row | {"method": long.PROBE, "rate": None, "seeds": 1, "accuracy": 0.8}
    assert page.line(probe) == "| linear probe | - | 1 | 81.2% | 80.0% | 79.0 to 84.0 | 770 | 770 | - | - |\n"

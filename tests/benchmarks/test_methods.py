"""The sweep over learning rates: which rate comes next, which is best, what the table says of it."""

import json
import math

import pytest
from benchmarks.__main__ import names
from benchmarks.methods import cells, final, grid, table


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


def cell(rate, loss, method="lora", day="2026-01-01"):
    return {"stage": "sft", "method": method, "rate": rate, "eval_loss": loss, "date": day}


def test_cells_are_read_back_and_a_run_that_broke_is_never_the_best(tmp_path):
    found = [cell(1e-3, 2.0), cell(3e-3, None), cell(1e-2, math.nan), cell(1e-3, 0.5, "dora")]
    for each in found:
        cells.write(cells.path_of(tmp_path, each), each)
    read = cells.read(tmp_path / "sft")
    assert sorted(path.name for path in (tmp_path / "sft").iterdir())[1] == "lora-0.001.json"
    assert cells.losses(read, "lora") == {1e-3: 2.0, 3e-3: math.inf, 1e-2: math.inf}
    assert grid.best(cells.losses(read, "lora")) == 1e-3


def test_the_table_says_measured_only_of_a_rate_between_two_others():
    between = [cell(3e-4, 2.0), cell(1e-3, 1.0), cell(3e-3, 1.5, day="2026-01-02")]
    edge = [cell(rate, 1 - 100 * rate, "dora") for rate in (3e-4, 1e-3, 3e-3)]
    flat = [cell(rate, 10.0 + rate, "rows") for rate in (3e-4, 1e-3, 3e-3)]
    few = [cell(1e-3, 1.0, "ia3")]
    found = table.entries("sft", between + edge + flat + few)
    assert set(found) == {"lora", "dora", "rows"}
    assert found["rows"]["origin"].startswith("of 3 rates that made no difference on the bundled model")
    assert found["lora"]["rate"] == 1e-3
    assert found["lora"]["origin"].startswith("measured at 3 rates on the bundled model")
    assert found["lora"]["origin"].endswith("2026-01-02")
    assert found["dora"]["origin"].startswith("at the edge of the 3 rates tried on the bundled model")


def test_a_classifiers_rate_is_a_place_below_the_best_and_says_so():
    found = table.entries("classify", [cell(rate, away_from(1e-2)(rate)) for rate in (3e-3, 1e-2, 3e-2)])
    assert found["lora"]["rate"] == 3e-3
    assert found["lora"]["origin"].startswith("a third of the best, measured at 3 rates on MiniLM (22M)")
    assert grid.chosen("sft", "lora", {1e-3: 1.0, 3e-3: 2.0}) == 1e-3
    assert grid.chosen("classify", "houlsby", {1e-3: 1.0, 3e-3: 2.0}) == 1e-4


@pytest.mark.parametrize("stage", table.PLACES)
def test_the_committed_table_holds_what_the_committed_cells_say(stage):
    committed = json.loads(table.TABLE.read_text(encoding="utf-8"))[table.PLACES[stage][0]]["rates"][stage]
    found = table.entries(stage, cells.read(cells.RESULTS / stage))
    assert found
    assert {method: committed[method] for method in found} == found


def test_the_final_table_has_three_seeds_of_the_first_methods_and_one_of_the_others():
    runs = final.wanted()
    assert runs[0] == (final.PROBE, 0)
    assert sum(name == "lora" for name, _ in runs) == 3
    assert sum(name == "vera" for name, _ in runs) == 1
    assert len(set(runs)) == len(runs)


def test_seeds_are_averaged_and_sorted_by_accuracy():
    runs = [{"method": "a", "seed": seed, "accuracy": value} for seed, value in ((1, 0.8), (0, 0.6))]
    rows = final.summary([*runs, {"method": "b", "seed": 0, "accuracy": 0.9, "rate": 0.1}])
    assert [row["method"] for row in rows] == ["b", "a"]
    assert rows[1]["accuracy"] == pytest.approx(0.7)
    assert (rows[1]["range"], rows[1]["seeds"], rows[0]["rate"]) == ([0.6, 0.8], 2, 0.1)


def test_a_package_is_a_benchmark_too():
    assert {"methods", "bill"} <= set(names())
    assert "results" not in names()

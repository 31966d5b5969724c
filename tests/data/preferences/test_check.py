"""The linter for compared answers, on rows made to be wrong."""

import json

import pytest
from tests.zoo import tiny_tokenizer

from accorda.data.preferences.check import check_preferences
from accorda.data.read import read_file
from accorda.recipe.sections import DataSection

GOOD = [{"prompt": f"{a} is ", "chosen": "b" * (5 + a % 2), "rejected": "c" * (5 + (a + 1) % 2)} for a in range(60)]


def checked(rows, store, **options):
    return check_preferences(rows, tiny_tokenizer(), max_length=64, store_folder=store, **options)


def test_good_rows_have_no_warning(tmp_path):
    found = checked(GOOD, tmp_path)
    assert found["warnings"] == []
    assert found["preferences"]["pairs"] == 60
    assert found["kind"] == "completion"
    assert "⟦" in found["sample"]


@pytest.mark.parametrize(
    ("rows", "warning", "key"),
    [
        ([{"prompt": "a", "chosen": "same", "rejected": "same"}], "is preferred to itself", "identical"),
        (
            [
                {"prompt": "a", "chosen": "one", "rejected": "two"},
                {"prompt": "a", "chosen": "two", "rejected": "one"},
            ],
            "say the opposite of an earlier one",
            "contradicting",
        ),
    ],
)
def test_identical_and_contradicting_rows_are_named(rows, warning, key, tmp_path):
    found = checked([*GOOD, *rows], tmp_path)
    assert any(warning in said for said in found["warnings"])
    assert found["preferences"][key]["rows"] == 1
    assert f"data.train:{len(GOOD) + len(rows)}" in str(found["preferences"][key]["places"])


def test_rows_on_one_line_of_a_file_may_contradict_each_other(tmp_path):
    rows = [
        {"prompt": "a", "chosen": "one", "rejected": "two"},
        {"prompt": "a", "chosen": "two", "rejected": "one"},
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    found = checked([str(tmp_path / "rows.json")], tmp_path / "store")
    assert found["preferences"]["contradicting"]["rows"] == 1


def test_held_out_rows_about_prompts_that_are_trained_on_are_told(tmp_path):
    held = [{"prompt": "1 is ", "chosen": "new", "rejected": "newer"}, {"prompt": "x ", "chosen": "b", "rejected": "c"}]
    section = DataSection(eval=held)
    found = check_preferences(GOOD, tiny_tokenizer(), section, max_length=64, store_folder=tmp_path)
    assert found["in_both"] == 0
    (said,) = found["warnings"]
    assert said.startswith("data.eval: 1 of 2 rows asks what rows of data.train ask")


def test_a_ranking_may_contradict_a_pair(tmp_path):
    rows = [
        {"prompt": "a", "completions": ["one", "two", "three"], "ranks": [1, 2, 3]},
        {"prompt": "a", "completions": ["three", "two", "one"], "ranks": [1, 2, 3]},
    ]
    assert checked(rows, tmp_path)["preferences"]["contradicting"]["rows"] == 3


def test_duplicates_are_counted(tmp_path):
    found = checked([*GOOD, GOOD[3]], tmp_path)
    assert found["duplicates"] == {"rows": 1, "places": [["data.train:61", "data.train:4"]]}
    assert "1 row repeats an earlier one" in found["warnings"]
    assert found["preferences"]["contradicting"]["rows"] == 0


def test_length_bias_is_told_in_both_directions(tmp_path):
    long = [{"prompt": f"{a}", "chosen": "b" * 9, "rejected": "c"} for a in range(40)]
    found = checked(long, tmp_path)
    assert found["preferences"]["longer_wins"] == 1.0
    assert any("the longer answer is the better one in 100% of 40 pairs" in said for said in found["warnings"])
    turned = [{"prompt": row["prompt"], "chosen": row["rejected"], "rejected": row["chosen"]} for row in long]
    assert any("the shorter answer" in said for said in checked(turned, tmp_path)["warnings"])
    assert not any("length" in said for said in checked(long[:20], tmp_path)["warnings"])


def test_thumbs_out_of_balance_and_contradicting(tmp_path):
    rows = [{"prompt": f"{a}", "completion": "yes", "label": a % 10 == 0} for a in range(50)]
    found = checked(rows, tmp_path)
    assert (found["preferences"]["liked"], found["preferences"]["disliked"]) == (5, 45)
    assert any("algorithm.desirable_weight=9 would balance them" in said for said in found["warnings"])
    again = [*rows, {"prompt": "1", "completion": "yes", "label": True}]
    assert checked(again, tmp_path)["preferences"]["contradicting"]["rows"] == 1
    assert any("every thumb points down" in said for said in checked(rows[1:9], tmp_path)["warnings"])


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("preferences_ultrafeedback_demo/dpo_en_demo.json", {}),
        ("preferences_ultrafeedback_demo/kto_en_demo.json", {}),
        (
            "preference_fixtures/stack_exchange_paired_tiny.json",
            {"prompt": "question", "chosen": "response_j", "rejected": "response_k"},
        ),
    ],
)
def test_real_rows_are_read_whole(name, columns, shared, tmp_path):
    path = shared / "data" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    rows = [row for _, _, row in read_file(path, "rows")]
    found = check_preferences(
        [str(path)],
        tiny_tokenizer(),
        DataSection(columns=columns),
        max_length=100_000,
        store_folder=tmp_path,
    )
    assert found["rows"] == {"seen": len(rows), "kept": len(rows), "skipped": 0, "overlong": 0, "truncated": 0}
    assert found["preferences"]["pairs"] + found["preferences"]["liked"] + found["preferences"]["disliked"] == len(rows)

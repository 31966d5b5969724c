import json

import pytest
from tests.stages.runs import SUMS, write_rows

from accorda.cli.main import main


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    write_rows(tmp_path / "rows.jsonl", SUMS)


def test_what_is_learned_of_good_rows(tiny, capsys):
    assert main(["data", "check", "rows.jsonl", "--model", str(tiny), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"]["kept"] == len(SUMS)
    assert found["sources"][0]["format"] == "completion"
    assert main(["data", "check", "rows.jsonl", "--model", str(tiny), "data.limit=3"]) == 0
    text = capsys.readouterr().out
    assert "3 seen, 3 kept" in text
    assert "⟦" in text


def test_rows_that_a_run_would_refuse_fail_the_check(tiny, capsys, tmp_path):
    write_rows(tmp_path / "bad.jsonl", [*SUMS, {"prompt": "a", "completion": ""}])
    assert main(["data", "check", "bad.jsonl", "--model", str(tiny)]) == 2
    out, err = capsys.readouterr()
    assert f"bad.jsonl:{len(SUMS) + 1}: " in out
    assert err.splitlines()[-1] == "error: 1 row cannot be read; mend them or say data.on_bad_row=skip"
    assert main(["data", "check", "bad.jsonl", "--model", str(tiny), "data.on_bad_row=skip"]) == 0
    long = {"prompt": "1 plus " * 300, "completion": "1"}
    write_rows(tmp_path / "long.jsonl", [*SUMS[:4], long, long])
    assert main(["data", "check", "long.jsonl", "--model", str(tiny)]) == 2
    assert "2 of 6 rows do not fit; say data.overlong=skip" in capsys.readouterr().err
    assert main(["data", "check", "long.jsonl", "--model", str(tiny), "data.overlong=skip"]) == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("check",), "FILE: missing"),
        (("chekc", "rows.jsonl"), "data chekc: no such verb; did you mean check?"),
        (("check", "rows.jsonl", "data.max_length=9999"), "data.max_length = 9999 (command line): the model has"),
        (("check", "none.jsonl"), "data.train: "),
    ],
)
def test_what_cannot_be_checked(arguments, line, tiny, capsys):
    assert main(["data", *arguments, "--model", str(tiny)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {line}")


def test_without_a_model(capsys):
    assert main(["data", "check", "rows.jsonl"]) == 2
    assert capsys.readouterr().err.startswith("error: --model: missing")


def test_compared_answers_are_checked_for_what_they_would_teach(tiny, capsys, tmp_path):
    rows = [{"prompt": f"{a} is ", "chosen": str(a) * (a % 3 + 1), "rejected": "b" * (a % 4 + 1)} for a in range(40)]
    write_rows(tmp_path / "pairs.jsonl", [*rows, {"prompt": "a", "chosen": "same", "rejected": "same"}])
    for stage in ("reward", "preference"):
        assert main(["data", "check", "pairs.jsonl", "--model", str(tiny), "--stage", stage]) == 0
        out = capsys.readouterr().out
        assert "! in 1 row (pairs.jsonl:41) an answer is preferred to itself" in out
        assert "longer answer wins" in out
    assert main(["data", "check", "pairs.jsonl", "--model", str(tiny)]) == 2
    assert "for stage: preference" in capsys.readouterr().err

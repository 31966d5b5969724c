import json
import subprocess
import sys

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


@pytest.mark.parametrize("stage", ["sft", "classify", "preference", "rl"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "the file is empty"),
        ("\n\r\n", "it holds no row"),
        ("prompt,completion\r\n", "no row stands below its header (prompt,completion)"),
        ('\ufeff"Ä \udcff",b\n', 'no row stands below its header ("\\"\\u00c4 \\udcff\\",b")'),
    ],
)
def test_a_file_without_rows_is_named_in_one_line(content, says, stage, tiny, capsys, tmp_path):
    (tmp_path / "none.csv").write_bytes(content.encode(errors="surrogateescape"))
    assert main(["data", "check", "none.csv", "--model", str(tiny), "--stage", stage]) == 2
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == f"error: data.train: none.csv: {says}; name a file with rows"
    assert out == ""


def test_rows_none_of_which_can_be_read_are_told_by_the_first(tiny, capsys, tmp_path):
    write_rows(tmp_path / "bad.jsonl", [{"prompt": "a", "completion": 3}] * 2)
    given = ["--model", str(tiny), "--data", "bad.jsonl", "data.on_bad_row=skip", "--dry-run"]
    assert main(["train", *given]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "error: data.train: 2 rows, and none can be read; the first is bad.jsonl:1: " + (
        "'completion' is a number, not text"
    )


def test_where_no_row_is_left_the_file_and_why_are_told_once(tiny, capsys, tmp_path):
    write_rows(tmp_path / "long.jsonl", [{"prompt": "1 plus " * 300, "completion": "1"}] * 3)
    assert main(["data", "check", "long.jsonl", "--model", str(tiny), "data.overlong=skip"]) == 2
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == (
        "error: long.jsonl: no row is left to train on: of 3 rows 3 do not fit in 256 tokens; mend them, or name "
        "other data"
    )
    assert "no row is left" not in out


def test_bad_rows_are_all_counted_where_some_are_listed(tiny, capsys, tmp_path):
    write_rows(tmp_path / "bad.jsonl", [*SUMS, *[{"prompt": "a", "completion": 3}] * 21])
    assert main(["data", "check", "bad.jsonl", "--model", str(tiny)]) == 2
    out = capsys.readouterr().out
    assert out.count("is a number, not text") == 8
    assert "... and 13 more; --json lists 20" in out


def test_tabs_in_a_csv_are_told_to_who_maps_columns(tiny, capsys, tmp_path):
    (tmp_path / "tabs.csv").write_text("question\tanswer\na\tb\n", encoding="utf-8")
    mapped = ["--column", "prompt=question", "--column", "completion=answer"]
    for more in (mapped, []):
        assert main(["data", "check", "tabs.csv", "--model", str(tiny), *more]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.endswith("so its values are separated by tabs; save it with commas, or call it .tsv")
    (tmp_path / "tabs.csv").rename(tmp_path / "tabs.tsv")
    assert main(["data", "check", "tabs.tsv", "--model", str(tiny), *mapped]) == 0


@pytest.mark.parametrize("more", [["none.jsonl"], ["rows.jsonl", "data.eval=none.jsonl"]])
def test_rows_that_are_not_there_are_told_before_torch_is_imported(more, tiny):
    line = ["data", "check", *more, "--model", str(tiny)]
    code = f"import sys; from accorda.cli.main import main; print(main({line!r}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2 False\n"
    assert "none.jsonl: no such file" in done.stderr

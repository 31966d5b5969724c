"""The report on data: it counts, warns and shows, and refuses only what cannot be read."""

import json
import re

import pytest
from tests.zoo import tiny_tokenizer

from accorda.data.check import check
from accorda.errors import Refusal
from accorda.recipe.sections import DataSection

TOKENIZER = tiny_tokenizer(chat_template=False, add_bos=True)
CHAT = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


def look(rows, tmp_path, section: DataSection | None = None, **settings):
    return check(rows, TOKENIZER, section, **{"max_length": 40, "store_folder": tmp_path / "cache", **settings})


def test_counts_duplicates_warnings_and_json(tmp_path):
    rows = [
        {"prompt": "a", "completion": " b"},
        {"prompt": "a", "completion": " b"},
        {"prompt": "a ", "completion": "b"},
        {"prompt": "a", "completion": "b</s>"},
        {"prompt": "", "completion": "b"},
        {"prompt": "a", "completion": ""},
        {"prompt": "a</s>", "completion": " " + "0" * 50},
    ]
    report = look(rows, tmp_path)
    assert report["rows"] == {"seen": 7, "kept": 5, "skipped": 1, "overlong": 1, "truncated": 0}
    assert report["kind"] == "completion"
    assert report["duplicates"] == {"rows": 1, "places": [["data.train:2", "data.train:1"]]}
    assert report["bad_rows"] == [{"file": "data.train", "line": 6, "reason": "empty completion"}]
    assert report["sources"][0]["format"] == "completion"
    warnings = "\n".join(report["warnings"])
    for part in (
        "1 bad row is refused: data.on_bad_row=error",
        "1 of 6 rows (17%) does not fit in 40 tokens and is left out, with 52 supervised tokens",
        "1 row repeats",
        "1 of 5 rows: nothing but the end of the prompt",
        "1 of 5 rows: the prompt ends in a space",
        "1 of 5 rows: the prompt is empty",
    ):
        assert part in warnings
    assert "special token" not in warnings  # the row with </s> in its prompt does not fit
    assert json.loads(json.dumps(report)) == report


def test_what_would_be_refused_is_said_and_not_done(tmp_path):
    report = look([{"prompt": "a", "completion": "0" * 50}], tmp_path)
    assert "a run would be refused (data.overlong=auto)" in report["warnings"][0]
    assert "no row is left to train on" in report["warnings"]
    assert report["sample"] == ""
    with pytest.raises(Refusal, match="no format fits"):
        look([{"q": "a", "a": "b"}], tmp_path)


def test_special_tokens_in_texts_and_the_fallback_template(tmp_path):
    spoken = {"messages": [{"role": "user", "content": "say </s>"}, {"role": "assistant", "content": "no"}]}
    report = look([spoken, CHAT], tmp_path)
    assert report["template"] == "plain"
    warnings = "\n".join(report["warnings"])
    assert "1 of 2 rows: the text holds what the tokenizer reads as a special token" in warnings
    assert "no chat template, so the built-in one called plain is used" in warnings
    assert not any("template" in line for line in look([CHAT], tmp_path, DataSection(template="plain"))["warnings"])


def test_the_sample_sets_off_what_is_learned(tmp_path):
    plain = look([CHAT], tmp_path)["sample"]
    assert plain == "data.train:1  18 tokens, 3 learned\n<s>User: a\nAssistant:⟦ b</s>⟧"
    colored = look([CHAT], tmp_path, color=True)["sample"]
    assert "\033[1;32m b</s>\033[0m" in colored
    assert re.sub(r"\033\[[\d;]*m", "", colored) == plain.replace("⟦", "").replace("⟧", "")


def test_the_sample_shows_no_control_characters_of_the_data(tmp_path):
    report = look([{"prompt": "a\033[2J\r", "completion": " b\x07" + "0" * 700}], tmp_path, max_length=2000)
    assert "\033" not in report["sample"]
    assert "\x07" not in report["sample"]
    assert "[...]" in report["sample"]


def test_rows_in_both_splits(tmp_path):
    section = DataSection(eval=[CHAT, {"messages": [*CHAT["messages"], *CHAT["messages"]]}])
    report = look([CHAT], tmp_path, section)
    assert report["in_both"] == 1
    assert "1 row of data.eval is also in data.train" in report["warnings"]


def test_several_files(tmp_path):
    paths = []
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(json.dumps(CHAT) + "\n")
        paths.append(str(tmp_path / name))
    report = look(paths, tmp_path)
    assert [source["file"] for source in report["sources"]] == paths
    assert report["duplicates"]["places"] == [[f"{paths[1]}:1", f"{paths[0]}:1"]]


def test_pretraining_data(tmp_path):
    report = look([{"text": "abc " * 40}], tmp_path, stage="pretrain", max_length=16)
    assert report["rows"]["kept"] > 3
    assert report["supervised_share"] == 1.0
    assert not [line for line in report["warnings"] if "rows:" in line]

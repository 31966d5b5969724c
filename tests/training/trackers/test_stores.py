"""The three stores, each fed a run that was stopped and resumed, and read back with the store's own reader."""

from pathlib import Path

import pytest

from accorda.training.trackers.contract import Tracker
from accorda.training.trackers.follow import trackers

SETTINGS = {"training.learning_rate": 0.1, "method.name": "lora"}


def feed(kind: type[Tracker], run: Path) -> None:
    """Steps 1-3 and a stop; then again from step 2 on."""
    place = run / "trackers" / "x"
    place.mkdir(parents=True)
    for start, end, loss in ((1, 3, 10.0), (3, 4, 20.0)):
        tracker = kind(run, place, SETTINGS)
        if start > 1:
            tracker.write({"event": "resumed", "from": start - 1})
        for step in range(start, end + 1):
            tracker.write({"event": "step", "step": step, "loss": loss + step, "memory": None})
        tracker.write({"event": "evaluation", "step": end, "eval_loss": loss, "samples": ["a <b>"]})
        tracker.close(complete=start > 1)


def test_the_folder_is_the_registry() -> None:
    assert list(trackers()) == ["mlflow", "tensorboard", "wandb"]


def test_tensorboard_shows_the_run_as_it_went_in_the_end(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    feed(trackers()["tensorboard"], tmp_path)
    read = EventAccumulator(str(tmp_path / "trackers" / "x"))
    read.Reload()
    assert [(s.step, s.value) for s in read.Scalars("train/loss")] == [(1, 11.0), (2, 12.0), (3, 23.0), (4, 24.0)]
    assert [(s.step, s.value) for s in read.Scalars("evaluation/eval_loss")] == [(4, 20.0)]


def test_mlflow_goes_on_in_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    from accorda.training.trackers.mlflow import local_store

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "")  # so that what is set here is undone
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE")
    feed(trackers()["mlflow"], tmp_path / "my-run")
    client = mlflow.MlflowClient(local_store(tmp_path))
    (experiment,) = [e for e in client.search_experiments() if e.name == "accorda"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "my-run"
    assert run.info.status == "FINISHED"
    assert run.data.params == {name: str(value) for name, value in SETTINGS.items()}
    assert run.data.metrics["train/loss"] == 24.0
    assert [m.step for m in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2, 3, 3, 4]


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    feed(trackers()["wandb"], tmp_path / "my-run")
    assert list((tmp_path / "my-run").rglob("run-*.wandb"))

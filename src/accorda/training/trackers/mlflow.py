"""MLflow: a run in the tracking store that `MLFLOW_TRACKING_URI` names, else in a local one beside the run folder."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from time import time
from typing import Any

from accorda.training.trackers.contract import Tracker, metrics

EXPERIMENT = "accorda"
LONGEST_VALUE = 500  # characters that every store takes


class MLflow(Tracker):
    """Settings as parameters, numbers as metrics. A resumed run goes on in the same MLflow run."""

    package = "mlflow"

    def __init__(self, run: Path, place: Path, settings: Mapping[str, Any]) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or local_store(run.absolute().parent))
        note = place / "run-id"
        if note.exists():
            self.id = note.read_text()
            return
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        experiment_id = experiment.experiment_id if experiment else self.client.create_experiment(EXPERIMENT)
        self.id = self.client.create_run(experiment_id, run_name=run.name).info.run_id
        note.write_text(self.id)
        for name, value in settings.items():
            self.client.log_param(self.id, name, str(value)[:LONGEST_VALUE])

    def write(self, event: Mapping[str, Any]) -> None:
        """Log the event's numbers as one batch."""
        from mlflow.entities import Metric

        now = int(1000 * time())
        found = [Metric(name, value, now, event["step"]) for name, value in metrics(event).items()]
        if found:
            self.client.log_batch(self.id, found)

    def close(self, complete: bool) -> None:
        """Mark the MLflow run finished, or stopped and resumable."""
        self.client.set_terminated(self.id, "FINISHED" if complete else "KILLED")


def local_store(folder: Path) -> str:
    """A database, or plain files where the small MLflow package is installed, which has no database."""
    if find_spec("sqlalchemy") is not None:
        return f"sqlite:///{folder / 'mlflow.db'}"
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow refuses files unless they were asked for
    return (folder / "mlruns").as_uri()

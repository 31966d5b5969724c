"""MLflow: a run in the tracking store that `MLFLOW_TRACKING_URI` names, else in `mlflow.db` beside the run folder."""

import os
from collections.abc import Mapping
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

        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.absolute().parent / 'mlflow.db'}"
        self.client = MlflowClient(uri)
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

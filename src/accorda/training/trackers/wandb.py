"""Weights & Biases: online if a key is configured, else offline, to be sent with `wandb sync`."""

import os
from collections.abc import Mapping
from importlib import import_module
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from uuid import uuid4

from accorda.training.trackers.contract import Tracker, metrics

PROJECT = "accorda"


class WandB(Tracker):
    """Settings as config, numbers over `step`. A resumed run goes on in the same W&B run."""

    package = "wandb"

    def __init__(self, run: Path, place: Path, settings: Mapping[str, Any]) -> None:
        wandb: Any = import_module(self.package)
        note = place / "run-id"
        if not note.exists():
            note.write_text(uuid4().hex[:8])
        self.run = wandb.init(
            project=PROJECT,
            id=note.read_text(),
            name=run.name,
            dir=str(place),
            config=dict(settings),
            resume="allow",
            mode=os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline"),
        )
        self.run.define_metric("*", step_metric="step")

    def write(self, event: Mapping[str, Any]) -> None:
        """Log the event's numbers; the step is a metric of its own, since W&B's cannot go back after a resume."""
        if found := metrics(event):
            self.run.log({**found, "step": event["step"]})

    def close(self, complete: bool) -> None:
        """Finish the W&B run; exit code 0 says that it is complete."""
        self.run.finish(exit_code=0 if complete else 3)


def has_key() -> bool:
    """Whether a key is in the environment or was left by `wandb login`; without one W&B would ask on the terminal."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc().authenticators("api.wandb.ai") is not None
    except (OSError, NetrcParseError):
        return False

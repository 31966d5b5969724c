"""TensorBoard: scalars, and generated samples as text, in the run's own folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accorda.training.trackers.contract import Tracker, metrics


class TensorBoard(Tracker):
    """Event files that `tensorboard --logdir RUN` shows; after a resume, steps that were taken back disappear."""

    package = "tensorboard"

    def __init__(self, run: Path, place: Path, settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.place = place
        self.writer = SummaryWriter(str(place))
        self.writer.add_text("recipe", "\n".join(f"    {name}: {value}" for name, value in settings.items()))

    def write(self, event: Mapping[str, Any]) -> None:
        """Add the event's numbers."""
        from torch.utils.tensorboard import SummaryWriter

        if event["event"] == "resumed":
            self.writer.close()
            self.writer = SummaryWriter(str(self.place), purge_step=event["from"] + 1)
        for name, value in metrics(event).items():
            self.writer.add_scalar(name, value, event["step"])
        for number, sample in enumerate(event.get("samples", ())):
            self.writer.add_text(f"samples/{number}", f"    {sample}", event["step"])
        self.writer.flush()

    def close(self, complete: bool) -> None:
        """Write what is pending."""
        self.writer.close()

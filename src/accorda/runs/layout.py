"""Where things stand in a run folder, and whether a folder is free, a run, unfinished or complete."""

import os
from datetime import date
from pathlib import Path

from accorda.errors import Refusal
from accorda.runs.place import require_writable


class RunFolder:
    """The paths of one run. `result.json`, renamed into place last, marks the run complete."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.recipe = self.path / "recipe.yaml"
        self.events = self.path / "events.jsonl"
        self.adapter = self.path / "adapter"
        self.model = self.path / "model"
        self.checkpoints = self.path / "checkpoints"
        self.proof = self.path / "proof.json"
        self.result = self.path / "result.json"
        self.report = self.path / "report.html"
        self.environment = self.path / "environment.json"
        self.data = self.path / "data.json"
        self.samples = self.path / "samples.json"
        self.rollout = self.path / "rollout"
        self.value = self.path / "value"
        self.verify = self.path / "verify.py"
        self.renderer = self.path / "renderer.json"
        self.crash = self.path / "crash.log"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def __fspath__(self) -> str:
        return str(self.path)

    def checkpoint(self, step: int) -> Path:
        """The complete state after `step` optimizer steps."""
        return self.checkpoints / f"step-{step}"

    def checkpoint_steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending; what was being written when a process died is none."""
        found = (path.name.removeprefix("step-") for path in self.checkpoints.glob("step-*") if path.is_dir())
        return sorted(int(step) for step in found if step.isdecimal())

    def is_run(self) -> bool:
        """Whether a run was begun here."""
        return self.recipe.is_file()

    def is_complete(self) -> bool:
        """Whether the run came to its end."""
        return self.is_run() and self.result.is_file()

    def is_unfinished(self) -> bool:
        """Whether the run can be resumed."""
        return self.is_run() and not self.result.is_file()

    def refuse_unless_free(self) -> None:
        """Refuse to begin a run here if anything is in the way, before any work is done.

        Raises:
            Refusal: a complete run, an unfinished one (with the line that resumes it), other files, no permission.
        """
        require_writable(self.path, "output =")
        at = f"output = {self.path}"
        if self.is_complete():
            raise Refusal(f"{at}: holds a complete run; choose another folder")
        if self.is_unfinished():
            raise Refusal(f"{at}: holds an unfinished run; continue it with: accorda resume {self.path}")
        if self.path.exists() and not self.path.is_dir():
            raise Refusal(f"{at}: is a file; choose a folder that does not exist")
        if self.path.is_dir() and any(self.path.iterdir()):
            raise Refusal(f"{at}: is not empty; choose a folder that does not exist")


def default_output(stage: str, method: str, today: date | None = None, root: str | Path = "runs") -> str:
    """`runs/<date>-<stage>-<method>`, with `-2`, `-3`, ... where such a folder stands already."""
    name = f"{today or date.today()}-{stage}-{method}"
    candidates = (Path(root) / (name if number == 1 else f"{name}-{number}") for number in range(1, 10**6))
    return str(next(path for path in candidates if not path.exists()))

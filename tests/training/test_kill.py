"""SIGKILL at the worst moments, and then on: the result has the bytes of a run that was never killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.tiny import make_loop, parameters

from accorda.runs import events
from accorda.runs.layout import RunFolder
from accorda.training import checkpoint
from accorda.training.run import Course, run

ROOT = Path(__file__).resolve().parents[2]
COURSE = Course(num_steps=12, checkpoint_every=3, keep_checkpoints=1)


def die(*ignored: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_a_step(loop, usual: Callable[..., Any]) -> None:
    """Between two micro-batches of step 8."""

    def objective(model, batch):
        if loop.step_number == 7:
            die()
        return usual(model, batch)

    loop.objective = objective


def die_while_writing(loop, usual: Callable[..., Any]) -> None:
    """When half of checkpoint 9 is on disk."""

    def write_tensors(path, tensors, **how) -> None:
        usual(path, tensors, **how)
        if loop.step_number == 9:
            os.truncate(path, os.path.getsize(path) // 2)
            die()

    checkpoint.write_tensors = write_tensors


def die_before_the_old_one_goes(loop, usual: Callable[..., Any]) -> None:
    """When checkpoint 9 is in place and the one before it still is, too."""

    def prune(checkpoints, keep, best) -> None:
        if loop.step_number == 9:
            die()
        usual(checkpoints, keep, best)

    checkpoint.prune = prune


MOMENTS = {
    "step": lambda loop: die_in_a_step(loop, loop.objective),
    "write": lambda loop: die_while_writing(loop, checkpoint.write_tensors),
    "prune": lambda loop: die_before_the_old_one_goes(loop, checkpoint.prune),
}


def child(folder: str, moment: str) -> None:
    torch.set_num_threads(1)
    where = RunFolder(folder)
    loop = make_loop(dropout=0.3, micro_tokens=20)
    MOMENTS[moment](loop)
    run(loop, COURSE, where, resume=where.events.exists())


@pytest.mark.slow
def test_killed_three_times_and_byte_equal(tmp_path: Path) -> None:
    straight, where = make_loop(dropout=0.3, micro_tokens=20), RunFolder(tmp_path / "killed")
    (tmp_path / "straight").mkdir()
    run(straight, COURSE, RunFolder(tmp_path / "straight"))
    where.path.mkdir()
    path = os.pathsep.join([str(ROOT), *sys.path])
    for moment, left in (("step", [6]), ("write", [6]), ("prune", [6, 9])):
        command = [sys.executable, __file__, str(where.path), moment]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert where.checkpoint_steps() == left
    loop = make_loop(dropout=0.3, micro_tokens=20)
    run(loop, COURSE, where, resume=True)
    assert parameters(loop) == parameters(straight)
    assert where.checkpoint_steps() == [12]
    assert not list(where.checkpoints.glob(".*"))
    logs = [events.read(RunFolder(tmp_path / name).events) for name in ("killed", "straight")]
    losses, expected = [[(e["step"], e["loss"]) for e in log if e["event"] == "step"] for log in logs]
    assert losses == expected
    starts = [e["from"] for e in events.lines(where.events) if e["event"] == "resumed"]
    assert starts == [6, 6, 9]


if __name__ == "__main__":
    child(*sys.argv[1:])

"""Two sides of a benchmark, each a process of its own, that make their steps in turn: both meet the same machine."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median


def resident() -> dict[str, int]:
    """The largest resident size of this process so far."""
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def serve(step: Callable[[int], float], peaks: Callable[[], dict[str, int]] = resident) -> None:
    """A step for every line: seconds, loss and the process's peaks go out as a line."""
    print(json.dumps({"ready": True}), flush=True)
    for number, _ in enumerate(sys.stdin):
        began = time.perf_counter()
        loss = step(number)
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "loss": loss, **peaks()}), flush=True)


def begun(benchmark: str, side: str, place: Path) -> subprocess.Popen[str]:
    """A side that is ready to make steps: a function of a benchmark's module that takes the folder `place`."""
    code = f"from pathlib import Path; import {benchmark} as benchmark; benchmark.{side}(Path({str(place)!r}))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"ACCORDA_CACHE": str(place / "cache"), "PYTHONUNBUFFERED": "1"},
    )
    told(process)
    return process


def told(process: subprocess.Popen[str]) -> dict[str, float]:
    """The next line of a side that is JSON."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError("a side ended before its time")


@dataclass(frozen=True)
class Measured:
    """What every side told of each of its steps; the first `dropped` do not count for the times."""

    steps: dict[str, list[dict[str, float]]]
    dropped: int

    @property
    def seconds(self) -> dict[str, float]:
        """The median of a step."""
        return {side: median(step["seconds"] for step in found[self.dropped :]) for side, found in self.steps.items()}

    @property
    def peaks(self) -> dict[str, float]:
        """The largest memory in bytes."""
        return {side: found[-1]["peak"] for side, found in self.steps.items()}

    @property
    def losses(self) -> dict[str, list[float]]:
        """The loss of every step."""
        return {side: [step["loss"] for step in found] for side, found in self.steps.items()}

    def figures(self) -> dict[str, object]:
        """Those rounded, for a benchmark's result."""
        return {
            "seconds_per_step": {side: round(value, 3) for side, value in self.seconds.items()},
            "peak_mb": {side: round(value / 1e6, 1) for side, value in self.peaks.items()},
            "losses": {side: [round(loss, 5) for loss in found] for side, found in self.losses.items()},
        }


def measured(benchmark: str, sides: Mapping[str, str], place: Path, num_steps: int, dropped: int) -> Measured:
    """Let the sides make their steps in turn; `sides`: by name, the function of the benchmark's module that is one."""
    processes = {side: begun(benchmark, function, place) for side, function in sides.items()}
    return Measured(in_turn(processes, num_steps), dropped)


def one_by_one(benchmark: str, sides: Mapping[str, str], place: Path, num_steps: int, dropped: int) -> Measured:
    """Let a side make all its steps before the next begins: for a GPU that nobody else uses and two models overfill."""
    steps: dict[str, list[dict[str, float]]] = {}
    for side, function in sides.items():
        steps |= in_turn({side: begun(benchmark, function, place)}, num_steps)
    return Measured(steps, dropped)


def in_turn(sides: Mapping[str, subprocess.Popen[str]], num_steps: int) -> dict[str, list[dict[str, float]]]:
    """What each side tells of each step; who goes first changes at every step. The sides end with it."""
    steps: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(num_steps):
        for side in sides if number % 2 == 0 else reversed(list(sides)):
            process = sides[side]
            assert process.stdin is not None
            process.stdin.write("step\n")
            process.stdin.flush()
            steps[side].append(told(process))
        print(json.dumps({side: found[-1] for side, found in steps.items()}), file=sys.stderr, flush=True)
    for process in sides.values():
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    return steps

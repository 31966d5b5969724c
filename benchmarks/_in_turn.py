"""Two sides of a benchmark, each a process of its own, that make their steps in turn: both meet the same machine."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median


def held() -> dict[str, int]:
    """What this process holds now and the most it ever held, in bytes; `ru_maxrss` counts who began it, too."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("VmHWM", "VmRSS"))}
    return {"now": sizes["VmRSS"], "peak": sizes["VmHWM"]}


def serve(step: Callable[[int], float | Mapping[str, float]], peaks: Callable[[], dict[str, int]] = held) -> None:
    """A step for every line: seconds, those its processor worked, loss (or what else it tells) and peaks go out."""
    print(json.dumps({"ready": True}), flush=True)
    for number, _ in enumerate(sys.stdin):
        began, worked = time.perf_counter(), time.process_time()
        told = step(number)
        spent = {"seconds": time.perf_counter() - began, "processor": time.process_time() - worked}
        found = told if isinstance(told, Mapping) else {"loss": told}
        print(json.dumps({**spent, **found, **peaks()}), flush=True)


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
    def processor(self) -> dict[str, float]:
        """The median of the seconds that the processor worked for a step: other work on the machine is not in them."""
        return {side: median(step["processor"] for step in found[self.dropped :]) for side, found in self.steps.items()}

    def per_token(self, spent: str) -> dict[str, float]:
        """Seconds of all steps that count by their tokens, for sides that tell `tokens`; `spent`: which seconds."""
        kept = {side: found[self.dropped :] for side, found in self.steps.items()}
        return {
            side: sum(step[spent] for step in found) / sum(step["tokens"] for step in found)
            for side, found in kept.items()
        }

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

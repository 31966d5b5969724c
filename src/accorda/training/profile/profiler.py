"""Times the parts of a run, and looks into some of its steps operator by operator.

The parts are timed all along. What forward and backward passes are made of is known from the steps that torch's
profiler recorded, ever fewer of them the longer the run: 3, 5, 9, 17, ... counted from its beginning. Nothing that is
computed changes.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from accorda.training.precision import Precision
from accorda.training.profile.clock import Clock
from accorda.training.profile.limit import product_peak, settle
from accorda.training.profile.operators import BETWEEN, REGION, Operators, add_up

STEP, FORWARD, BACKWARD, ITSELF = "step", "forward", "backward", "this profile"
PASSES = (FORWARD, BACKWARD)
WARM_UP = 2  # steps that compile kernels and fill caches


class Profiler:
    """`part` is handed to whoever makes the parts of a run; `told` is what there is to tell at its end."""

    def __init__(self, device: torch.device | str):
        self.device = torch.device(device)
        self.clock = Clock(lambda: settle(self.device))
        self.operators = Operators()
        self.recorded: list[int] = []
        self.precision = Precision()
        self._recording = False
        self._peak = 0.0
        self._num_steps = self._steps = 0
        self._recorded_passes = 0.0

    def begin(self, precision: Precision, num_steps: int) -> None:
        """What the steps compute in, and how many there will be."""
        self.precision, self._num_steps = precision, num_steps

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Around a part of the run; `step` around a whole optimizer step."""
        if name == STEP:
            self._steps += 1
        recorded = name == STEP and is_recorded(self._steps, self._num_steps)
        with self._looking_in() if recorded else nullcontext(), self.clock.part(name), self._region(name):
            yield

    def _region(self, name: str) -> AbstractContextManager[object]:
        own = self._recording and self.clock.inside in PASSES  # not the passes of a proof
        return record_function(REGION + name) if own and name in PASSES else nullcontext()

    @contextmanager
    def _looking_in(self) -> Iterator[None]:
        """Record the operators of a step and add them up."""
        with self.clock.part(ITSELF):
            self._peak = max(self._peak, product_peak(self.precision.dtype, self.device))
            recorder = self._recorder()
            recorder.start()
        before, self._recording = self._passes(), True
        try:
            yield
        finally:
            self._recording = False
            with self.clock.part(ITSELF):
                recorder.stop()
        with self.clock.part(ITSELF):
            self._recorded_passes += self._passes() - before
            self.recorded.append(self._steps)
            results = recorder.profiler and recorder.profiler.kineto_results
            add_up(results.events() if results else (), self.operators)

    def _recorder(self) -> Any:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it writes to standard error else
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (self.device.type == "cuda")
        return profile(activities=activities, record_shapes=True, acc_events=False)

    def _passes(self) -> float:
        return sum(self.clock.seconds.get(name, 0.0) for name in PASSES)

    def told(self, log: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Seconds by part, the FLOPs of a second beside the limit; `log` are the events of the run.

        The FLOPs of a second are those of a token in the recorded steps, by the tokens of a second in the others.
        """
        seconds = dict(self.clock.seconds)
        passes = sum(seconds.pop(name, 0.0) for name in PASSES)
        inner = {name: share * passes for name, share in self.operators.shares(self._recorded_passes).items()}
        inner[BETWEEN] += seconds.pop(STEP, 0.0)
        found: dict[str, Any] = {"seconds": {**inner, **seconds}, "recorded_steps": self.recorded}
        steps = [event for event in log if event["event"] == "step"]
        seen = [event for event in steps if event["step"] in self.recorded]
        rest = [e for e in steps if e["step"] not in self.recorded and e["step"] > WARM_UP] or seen
        if seen and self._peak:
            of_token = self.operators.flops / sum(event["tokens"] for event in seen)
            speed = sum(event["tokens"] for event in rest) / sum(event["seconds"] for event in rest)
            found |= {
                "flops_per_second": of_token * speed,
                "peak_flops_per_second": self._peak,
                "share_of_peak": of_token * speed / self._peak,
                "precision": self.precision.name,
                "threads": torch.get_num_threads(),
            }
        return found


def is_recorded(step: int, num_steps: int) -> bool:
    """Whether step `step` of a run, counted from 1, is looked into."""
    if num_steps <= WARM_UP:
        return step == num_steps
    before = step - 1
    return before >= WARM_UP and before & (before - 1) == 0

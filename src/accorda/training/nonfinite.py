"""Which rows and which module made a loss or a gradient that is not finite: found by doing the step again, watched."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accorda.data.batch import Batch, Segment
from accorda.runs.files import write_json
from accorda.training.loop import Loop, NonFinite
from accorda.training.rng import Generators

SHOWN = 3
ADVICE = "remove or mend the rows, or lower training.learning_rate"


@dataclass(frozen=True)
class Culprit:
    """Where it began.

    rows: those that are not finite each by itself, or all of the micro-batch if none is.
    module: the first that gives an output, or hands back a gradient, that is not finite, if any does.
    parameter: one of the model's that was not finite before the step, if any was.
    finite_in_fp32: whether the same rows are finite without autocast; None where there was none.
    """

    rows: list[Segment]
    module: str | None
    parameter: str | None
    finite_in_fp32: bool | None


def explain(loop: Loop, fault: NonFinite, folder: Path) -> str:
    """Find the culprit, write its rows to `non_finite-step-N.json` in the run folder, and say it all in a line."""
    before = Generators.capture()
    try:
        culprit = find(loop, fault.what)
    finally:
        loop.optimizer.zero_grad()
        before.restore()
    place = folder / f"non_finite-step-{fault.step}.json"
    write_json(place, _record(fault, culprit))
    if culprit.parameter in loop.parameters():
        return f"{fault}: the parameter {culprit.parameter} was not finite before; lower training.learning_rate"
    named = ", ".join(f"{row.file}:{row.line}" for row in culprit.rows[:SHOWN])
    more = f" and {len(culprit.rows) - SHOWN} more" if len(culprit.rows) > SHOWN else ""
    where = f", first in module {culprit.module}" if culprit.module else ""
    base = f", the base's {culprit.parameter} is not finite" if culprit.parameter else ""
    advice = "set training.precision to fp32, where it is finite" if culprit.finite_in_fp32 else ADVICE
    return f"{fault}: {named}{more}{where}{base} ({place}); {advice}"


def find(loop: Loop, what: str) -> Culprit:
    """Repeat the loop's next step: its micro-batches, then the rows of those that are not finite one by one."""
    suspects = [suspect for batch in loop.batches.at(loop.step_number) for suspect in _suspects(loop, batch, what)]
    if not suspects:  # each micro-batch is finite, only their sum is not
        suspects = [_Suspect(batch, Generators.capture()) for batch in loop.batches.at(loop.step_number)]
    first = suspects[0]
    in_fp32 = None if loop.precision.name == "fp32" else _is_finite(loop, first, what, autocast=False)
    with _watched(loop.model, what) as found:
        _is_finite(loop, first, what)
    broken = [name for name, p in loop.parameters().items() if p.grad is not None and not finite(p.grad)]
    return Culprit(
        rows=[loop.batches.dataset[row] for suspect in suspects for row in suspect.batch.rows],
        module=next(iter(found or [name.rpartition(".")[0] for name in broken]), None),
        parameter=next((name for name, p in loop.model.named_parameters() if not finite(p)), None),
        finite_in_fp32=in_fp32,
    )


@dataclass(frozen=True)
class _Suspect:
    """A batch, and the generators as they were before it ran."""

    batch: Batch
    drawn: Generators


def _suspects(loop: Loop, batch: Batch, what: str) -> list[_Suspect]:
    """Nothing for a finite micro-batch; else its rows that are not finite each by itself, or all of it if none is."""
    whole = _Suspect(batch, Generators.capture())
    if _is_finite(loop, whole, what):
        return []
    after = Generators.capture()
    segments = [loop.batches.dataset[row] for row in batch.rows]
    alone = [_Suspect(loop.batches.together([segment]), whole.drawn) for segment in segments]
    bad = [one for one in alone if not _is_finite(loop, one, what)]
    after.restore()
    return bad or [whole]


def _is_finite(loop: Loop, suspect: _Suspect, what: str, autocast: bool = True) -> bool:
    """Whether one batch's loss, or gradient, is finite."""
    suspect.drawn.restore()
    loop.optimizer.zero_grad()
    with loop.precision.autocast() if autocast else torch.autocast(loop.precision.device_type, enabled=False):
        loss = loop.objective(loop.model, suspect.batch)
    if what == "loss" or not finite(loss):
        return finite(loss)
    loss.backward()
    return all(finite(p.grad) for p in loop.parameters().values() if p.grad is not None)


def finite(tensor: Tensor) -> bool:
    """Whether every number is."""
    return bool(torch.isfinite(tensor).all())


@contextmanager
def _watched(model: nn.Module, what: str) -> Iterator[list[str]]:
    """While entered, a list that gets the names of the modules that make something not finite, the first one first."""
    found: list[str] = []
    handles = [
        module.register_forward_hook(_watch_output(name, found))
        if what == "loss"
        else module.register_forward_pre_hook(_watch_gradient(name, found))
        for name, module in model.named_modules()
        if name
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _watch_output(name: str, found: list[str]) -> Callable[[nn.Module, Any, Any], None]:
    """A hook that notes a module whose output is not finite; modules inside it come before it."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        tensors = output if isinstance(output, tuple | list) else [output]
        if not all(finite(tensor) for tensor in tensors if isinstance(tensor, Tensor)):
            found.append(name)

    return hook


def _watch_gradient(name: str, found: list[str]) -> Callable[[nn.Module, Any], None]:
    """A hook that notes a module which hands back a gradient that is not finite.

    A module inside it that has the same input takes its place in the list.
    """

    def hook(module: nn.Module, inputs: Any) -> None:
        for tensor in inputs:
            if isinstance(tensor, Tensor) and tensor.requires_grad:
                tensor.register_hook(note)

    def note(gradient: Tensor) -> None:
        if finite(gradient):
            return
        if found and name.startswith(f"{found[-1]}."):
            found.pop()
        found.append(name)

    return hook


def _record(fault: NonFinite, culprit: Culprit) -> dict[str, Any]:
    """What the file holds."""
    rows = [
        {"file": row.file, "line": row.line, "index": row.index, "input_ids": row.input_ids.tolist()}
        for row in culprit.rows
    ]
    facts = {"module": culprit.module, "parameter": culprit.parameter, "finite_in_fp32": culprit.finite_in_fp32}
    return {"step": fault.step, "what": fault.what, **facts, "rows": rows}

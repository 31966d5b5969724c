"""Which rows and which module made a loss or a gradient that is not finite: found by doing the step again, watched."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accorda.data.batch import Batch, Segment, pad_batch
from accorda.runs.files import write_json
from accorda.training.loop import Loop, NonFinite
from accorda.training.rng import Generators

SHOWN = 3
ADVICE = "remove or mend the rows, or lower training.learning_rate"


@dataclass(frozen=True)
class Culprit:
    """Where it began.

    rows: those that are not finite each by itself, or all of the micro-batch if none is.
    module: the first whose output (or, for a gradient, output's gradient) is not finite, if any is.
    parameter: one that was not finite before the step, if any was.
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
    where = f", first in module {culprit.module}" if culprit.module else ""
    if culprit.parameter:
        return f"{fault}: the parameter {culprit.parameter} was not finite before; lower training.learning_rate"
    named = ", ".join(f"{row.file}:{row.line}" for row in culprit.rows[:SHOWN])
    more = f" and {len(culprit.rows) - SHOWN} more" if len(culprit.rows) > SHOWN else ""
    advice = "set training.precision to fp32, where it is finite" if culprit.finite_in_fp32 else ADVICE
    return f"{fault}: {named}{more}{where} ({place}); {advice}"


def find(loop: Loop, what: str) -> Culprit:
    """Repeat the micro-batches of the loop's next step until one is not finite, then its rows one by one."""
    parameter = next((name for name, p in loop.model.named_parameters() if not bool(torch.isfinite(p).all())), None)
    batch, drawn = _first_bad(loop, what)
    dataset = loop.batches.dataset
    segments = [dataset[row] for row in batch.rows]
    alone = [pad_batch([segment], 0).to(batch.input_ids.device) for segment in segments]
    bad = [one for one in alone if not _is_finite(loop, one, what, drawn)]
    rows = [segments[alone.index(one)] for one in bad] or segments
    suspect = bad[0] if bad else batch
    with _first_module(loop.model, what) as found:
        _is_finite(loop, suspect, what, drawn)
    in_fp32 = None if loop.precision.name == "fp32" else _is_finite(loop, suspect, what, drawn, autocast=False)
    return Culprit(rows, found[0] if found else None, parameter, in_fp32)


def _first_bad(loop: Loop, what: str) -> tuple[Batch, Generators]:
    """The first micro-batch that is not finite and the generators before it; the last if each by itself is."""
    batches = loop.batches.at(loop.step_number)
    drawn = Generators.capture()
    for batch in batches:
        drawn = Generators.capture()
        if not _is_finite(loop, batch, what, None):
            return batch, drawn
    return batches[-1], drawn


def _is_finite(loop: Loop, batch: Batch, what: str, drawn: Generators | None, autocast: bool = True) -> bool:
    """Whether one batch's loss, or gradient, is finite; with the generators put to `drawn` before."""
    if drawn:
        drawn.restore()
    loop.optimizer.zero_grad()
    with loop.precision.autocast() if autocast else torch.autocast(loop.precision.device_type, enabled=False):
        loss = loop.objective(loop.model, batch)
    if not bool(torch.isfinite(loss)):
        return False
    if what == "loss":
        return True
    loss.backward()
    return all(bool(torch.isfinite(p.grad).all()) for p in loop.parameters().values() if p.grad is not None)


@contextmanager
def _first_module(model: nn.Module, what: str) -> Iterator[list[str]]:
    """While entered, a list that gets the names of modules whose output, or its gradient, is not finite, in order."""
    found: list[str] = []
    handles = [
        module.register_forward_hook(_watch(name, what, found)) for name, module in model.named_modules() if name
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _watch(name: str, what: str, found: list[str]) -> Callable[[nn.Module, Any, Any], None]:
    """A forward hook that notes `name` when the module's output, or later its gradient, is not finite."""

    def note(tensor: Tensor) -> None:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            found.append(name)

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        for tensor in output if isinstance(output, tuple | list) else [output]:
            if isinstance(tensor, Tensor) and what == "loss":
                note(tensor.detach())
            elif isinstance(tensor, Tensor) and tensor.requires_grad:
                tensor.register_hook(note)

    return hook


def _record(fault: NonFinite, culprit: Culprit) -> dict[str, Any]:
    """What the file holds."""
    rows = [
        {"file": row.file, "line": row.line, "index": row.index, "input_ids": row.input_ids.tolist()}
        for row in culprit.rows
    ]
    facts = {"module": culprit.module, "parameter": culprit.parameter, "finite_in_fp32": culprit.finite_in_fp32}
    return {"step": fault.step, "what": fault.what, **facts, "rows": rows}

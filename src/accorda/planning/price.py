"""The bill of a run, from its model, its method, its shapes and its settings."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import PreTrainedModel

from accorda.methods.install import trainable
from accorda.models.heap import threshold
from accorda.models.packed import packed_linears
from accorda.planning.bill import Bill, Moment
from accorda.planning.course import moments
from accorda.planning.rehearsal import ADAPTER, BASE, COPY, OPTIMIZER, TRAINING, Passes, rehearse
from accorda.planning.workload import SampledWorkload
from accorda.quantization.nf4 import kernel_of
from accorda.training.loop import Objective
from accorda.training.optimizers.contract import Settings
from accorda.training.precision import Precision

OVERHEAD = {"cpu": 28_000_000, "cuda": 500_000_000}
"""On a CPU modules of transformers and tokenizers imported on first use, tables of kernels, the tokens, what this
rehearsal leaves behind; measured as what a run of stage sft on 140 thousand parameters holds beyond its tensors. Of a
GPU: an estimate of the context and the matrix library's workspace, not measured by us."""

SAMPLING = 20_000_000
"""More of it where a run samples its own answers, on a CPU: 50 MB beyond the tensors were measured at stage rl."""

COMPILED = 33_000_000
"""More of it where products are in 16 bit, on a CPU: the kernels that oneDNN compiles for their shapes, as many as it
keeps (`models/compiled.py`), 128 of about 258 kB. A run of rows of many lengths has them all after its first steps."""


@dataclass(frozen=True, kw_only=True)
class Priced:
    """What a bill is made of.

    model: with its method installed, prepared for its precision, in memory or on the meta device. files: the dtype of
    the files that the base's weights are pages of, None where they are not. trial: the proof of resume is drawn
    while the run goes on.
    """

    model: PreTrainedModel
    objective: Callable[[PreTrainedModel], Objective]
    passes: Passes
    optimizer: Settings
    precision: Precision
    files: torch.dtype | None
    trial: bool


def price(priced: Priced) -> Bill:
    """The bill; the model stays as it is."""
    kind, filed = priced.precision.device_type, in_files(priced)
    rehearsal = rehearse(
        priced.model, priced.objective, priced.passes, priced.optimizer, priced.precision, frozenset(map(id, filed))
    )
    own_mapping = threshold() if packed_linears(priced.model) else 0
    found = moments(rehearsal, c_library=kind == "cpu", own_mapping=own_mapping)
    if priced.trial and kind == "cpu":  # of a GPU's state the copies are in the host's memory
        found += trial(next(moment for moment in found if moment.name == TRAINING), state_bytes(priced))
    sampled = kind == "cpu" and any(isinstance(work, SampledWorkload) for work in priced.passes.step)
    compiled = kind == "cpu" and priced.precision.dtype.itemsize == 2
    standing = {
        "overhead": OVERHEAD[kind] + SAMPLING * sampled + COMPILED * compiled + kernel_bytes(priced.model, kind),
        "mapped files": unused_pages(priced, filed),
    }
    return Bill(tuple(with_more(moment, standing) for moment in found), kind)


def kernel_bytes(model: nn.Module, kind: str) -> int:
    """What the library takes that computes with 4-bit weights on a CPU; on a GPU it is not in the card's memory."""
    kernel = kernel_of(model, torch.device(kind)) if kind == "cpu" else None
    return 0 if kernel is None else kernel.num_bytes


def with_more(moment: Moment, more: Mapping[str, float]) -> Moment:
    """The moment with more in it."""
    sizes = Counter({item.name: item.bytes for item in moment.items})
    sizes.update({name: round(size) for name, size in more.items()})
    return Moment.of(moment.name, sizes)


def trial(training: Moment, state: int) -> list[Moment]:
    """The proof of resume: a copy of the state beside a step, and beside the checkpoint as it is read back."""
    standing = {name: training[name] for name in (BASE, COPY, ADAPTER, OPTIMIZER)}
    read_back = Moment.of("checkpoint read back", standing | {"copies": 2 * state})
    return [with_more(replace(training, name="proof of resume"), {"copies": state}), read_back]


def state_bytes(priced: Priced) -> int:
    """What a checkpoint holds: the parameters that train, what the optimizer remembers, and buffers beside them."""
    trained_parameters = trainable(priced.model).values()
    learned = sum(p.nbytes for p in trained_parameters)
    learned += priced.optimizer.bytes_in_memory(sum(p.numel() * bytes_of(priced, p) for p in trained_parameters))
    trained = (m for m in priced.model.modules() if any(p.requires_grad for p in m.parameters(recurse=False)))
    return round(learned) + sum(buffer.nbytes for module in trained for buffer in module.buffers(recurse=False))


def bytes_of(priced: Priced, parameter: nn.Parameter) -> float:
    """The optimizer's states, per number of one parameter."""
    return priced.optimizer.bytes_per_parameter(parameter.shape)


def in_files(priced: Priced) -> list[nn.Parameter]:
    """The parameters that are pages of the checkpoint: of its dtype."""
    base = [p for name, p in priced.model.named_parameters() if not is_added(name)]
    return [parameter for parameter in base if parameter.dtype == priced.files]


def is_added(name: str) -> bool:
    """Whether a parameter is of an adapter or a copy, by its name."""
    return ".adapters." in f".{name}" or ".originals." in f".{name}"


def unused_pages(priced: Priced, filed: Sequence[nn.Parameter]) -> int:
    """Pages of the files that were read and are no longer used, held because others of the same files are."""
    if priced.files is None or not filed:
        return 0
    kept = {id(parameter) for parameter in filed}
    named = priced.model.named_parameters()
    others = sum(
        p.numel()
        for name, p in named
        if not is_added(name) and p.is_floating_point() and id(p) not in kept and p.ndim > 1
    )
    return priced.files.itemsize * others

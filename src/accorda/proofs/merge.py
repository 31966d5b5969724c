"""Does the model say the same once the adapter is folded into its weights?

No second base: during one forward pass every module that carries adapters answers with its merged weights, which are
made when it is called and dropped after it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.data.batch import Segment
from accorda.methods.contract import NotMergeable
from accorda.methods.entries import written
from accorda.methods.merging import check_foldable, merged_module, merged_paths
from accorda.methods.routing import acting
from accorda.proofs.contract import Proof, Prover, within
from accorda.proofs.numerics import TOLERANCE, everything_alone, few_rows, in_fp32, largest
from accorda.proofs.rows import readable
from accorda.quantization.contract import QuantizedLinear
from accorda.training.session import Session


class Merge(Prover):
    """Merged log-probabilities equal the unmerged ones on held-out rows."""

    name = "merge"

    def prove(self, session: Session, folder: Path) -> Proof:
        """On a few rows of the evaluation split, or of the training rows where there is none."""
        rows = session.eval if session.eval is not None and len(session.eval) else session.train
        segments = few_rows(readable(rows, range(min(len(rows), 32))))
        return merged_alike(session.model, segments)


def merged_alike(model: PreTrainedModel, segments: list[Segment], name: str | None = None) -> Proof:
    """The proof for one adapter of a model, on these rows; `name` may be left out where there is one adapter."""
    names = acting(model) if name is None else [name]
    if len(names) != 1:
        reason = "no adapter acts" if not names else f"{len(names)} adapters act: name one"
        return Proof("merge", "not applicable", reason)
    if not segments:
        return Proof("merge", "not applicable", "there are no rows with labels to compare on")
    try:
        check_foldable(model, names[0])
    except NotMergeable as refusal:
        return Proof("merge", "not applicable", str(refusal))
    paths = merged_paths(model, names[0])
    with written(model, names[0]) as num_entries:
        pass
    if not paths and not num_entries:
        reason = "what was trained stands in the base's own tensors already: there is nothing to fold in"
        return Proof("merge", "not applicable", reason)
    return _compared(model, names[0], paths, segments)


def _compared(model: PreTrainedModel, name: str, paths: list[str], segments: list[Segment]) -> Proof:
    dtype, base = model.dtype, _base_told(model, paths)
    with torch.no_grad(), in_fp32(model):
        unmerged = everything_alone(model, segments)
        with written(model, name) as num_entries, folded(model, name, paths):
            difference = largest(everything_alone(model, segments) - unmerged)
        with written(model, name, dtype), folded(model, name, paths, dtype):
            rounded = difference if dtype == torch.float32 else largest(everything_alone(model, segments) - unmerged)
    evidence = {
        "rows": [segment.index for segment in segments],
        "modules": len(paths),
        "tensors": num_entries,
        "base": base,
        "difference": difference,
        "tolerance": TOLERANCE,
        "difference_rounded": {"dtype": str(dtype).removeprefix("torch."), "difference": rounded},
    }
    if difference > TOLERANCE:
        reason = f"merged into {base}, log-probabilities differ by up to {difference:.1e} nats from the adapter's"
        return Proof("merge", "fails", reason, evidence)
    cost = f"; rounded to {evidence['difference_rounded']['dtype']}: {rounded:.0e}" if dtype != torch.float32 else ""
    parts = [f"{len(paths)} modules"] if paths else []
    parts += [f"the trained entries of {num_entries} tensors"] if num_entries else []
    reason = f"{' and '.join(parts)} merged into {base} give the same log-probabilities {within(difference)}{cost}"
    return Proof("merge", "holds", reason, evidence)


def _base_told(model: PreTrainedModel, paths: list[str]) -> str:
    quantized = any(isinstance(model.get_submodule(path), QuantizedLinear) for path in paths)
    return "the dequantized base" if quantized else "the base it was trained on"


@contextmanager
def folded(model: PreTrainedModel, name: str, paths: list[str], dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Inside, the modules at `paths` answer with merged weights, rounded to `dtype`."""
    hooks = []
    received: dict[str, Tensor] = {}
    for path in paths:
        module = model.get_submodule(path)
        hooks.append(module.register_forward_pre_hook(partial(_receive, received, path), prepend=True))
        hooks.append(module.register_forward_hook(partial(_answer, model, name, path, received, dtype)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _receive(received: dict[str, Tensor], path: str, module: nn.Module, args: tuple[Any, ...]) -> None:
    received[path] = args[0]  # before the adapters see it


def _answer(
    model: PreTrainedModel,
    name: str,
    path: str,
    received: dict[str, Tensor],
    dtype: torch.dtype,
    module: nn.Module,
    args: Any,
    output: Tensor,
) -> Tensor:
    merged = merged_module(model, name, path)
    for parameter in merged.parameters():
        parameter.data = parameter.data.to(dtype).to(received[path].dtype)
    return merged(received.pop(path))

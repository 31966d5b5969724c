"""KronA as PEFT's LoKr, where LoKr has the same factors: w1 (x) w2 with both held whole.

LoKr takes the shape of w1 from one `decompose_factor` for all modules, so only some shapes can be written; a `r` of at
least the largest size of w2 keeps w2 whole, and alpha / r is the scale.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import Method
from accorda.methods.reparametrized.krona import KronA, KronAAdapter
from accorda.methods.storage.peft_config import PREFIX, read_fields, short
from accorda.methods.storage.peft_parts import hosted, is_conv1d, is_whole
from accorda.methods.storage.peft_targets import (
    Targets,
    check_patterns,
    our_targets,
    pattern_value,
    targeted,
    targets_for,
)
from accorda.methods.storage.strict import check_tensors
from accorda.recipe.types import PositiveFloat, PositiveInt

PEFT_TYPE = "LOKR"
UNUSED = {"init_weights", "decompose_both", "decompose_factor", "use_effective_conv2d", "rank_dropout_scale"}
FACTORS = {"A": "lokr_w1", "B": "lokr_w2"}


@dataclass(frozen=True, kw_only=True)
class Fields(Targets):
    """The fields of a LoKrConfig that decide what is computed; the shapes are those of the tensors."""

    r: PositiveInt = 8
    alpha: PositiveFloat = 8.0
    rank_pattern: dict[str, PositiveInt] = field(default_factory=dict)
    alpha_pattern: dict[str, PositiveFloat] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_patterns((*self.rank_pattern, *self.alpha_pattern))

    def scaling(self, path: str) -> float:
        """What PEFT multiplies the product of a module with."""
        rank = pattern_value(self.rank_pattern, path, self.r)
        return pattern_value(self.alpha_pattern, path, self.alpha) / rank


def fits(methods: Sequence[Method], model: PreTrainedModel, name: str) -> bool:
    """KronA alone, on whole modules that LoKr knows, in shapes that one decompose_factor gives."""
    if not all(isinstance(method, KronA) for method in methods):
        return False
    found = list(hosted(model, name, (KronAAdapter,)))
    known = all(is_whole(parts) and not is_conv1d(module) for _, module, parts in found)
    return known and _factor(_shapes(model, name)) is not None


def config(methods: Sequence[Method], model: PreTrainedModel, name: str) -> dict[str, Any]:
    """The fields of a LoKrConfig."""
    shapes = _shapes(model, name)
    rank = max(size for _, B in shapes.values() for size in B)
    alphas = {path: adapter.scaling * rank for path, _, ((_, adapter, _),) in hosted(model, name, (KronAAdapter,))}
    (alpha, _), *others = Counter(alphas.values()).most_common()
    others = {other: {path for path in alphas if alphas[path] == other} for other, _ in others}
    return {
        "r": rank,
        "alpha": short(alpha),
        "alpha_pattern": {key: short(other) for other in others for key in targets_for(model, others[other])},
        "decompose_factor": _factor(shapes),
        "decompose_both": False,
        "target_modules": targets_for(model, set(shapes)),
    }


def encode(model: PreTrainedModel, name: str) -> dict[str, Tensor]:
    """The tensors of the file: per module lokr_w1 (a1, a2) and lokr_w2 (b1, b2)."""
    return {
        f"{PREFIX}{path}.{FACTORS[leaf]}": parameter.detach()
        for path, _, ((_, adapter, _),) in hosted(model, name, (KronAAdapter,))
        for leaf, parameter in adapter.named_parameters()
    }


def decode(
    model: PreTrainedModel, name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The factors under our names."""
    check_tensors(encode(model, name), tensors, where)
    return {
        f"{path}.{key}.{leaf}": tensors[f"{PREFIX}{path}.{theirs}"]
        for path, _, ((key, _, _),) in hosted(model, name, (KronAAdapter,))
        for leaf, theirs in FACTORS.items()
    }


def methods(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], model: PreTrainedModel, where: str
) -> tuple[Method, ...]:
    """The KronA, or one for every shape and scale, that computes what a file by PEFT describes."""
    fields = read_fields(Fields, config, UNUSED, where)
    paths = sorted(targeted(fields, model))
    if not paths:
        raise Refusal(f"{where}: target_modules = {fields.target_modules!r} matches nothing in this model")
    if thin := [key for key in tensors if key.endswith(("lokr_w1_a", "lokr_w2_a"))]:
        raise Refusal(
            f"{where}: {thin[0]}: r = {fields.r} makes this factor a product itself, and KronA holds its factors "
            "whole; merge the adapter into its base with PEFT (merge_and_unload) and open the merged model"
        )
    kinds: dict[tuple[tuple[int, ...], float], set[str]] = {}
    for path in paths:
        B = tensors.get(f"{PREFIX}{path}.lokr_w2")
        if B is None or B.ndim != 2:
            raise Refusal(f"{where}: missing {PREFIX}{path}.lokr_w2, a matrix")
        kinds.setdefault((tuple(B.shape), fields.scaling(path)), set()).add(path)
    return tuple(
        KronA(target_modules=our_targets(model, names), block_shape=(rows, columns), scaling=scaling)
        for ((rows, columns), scaling), names in kinds.items()
    )


def factorisation(number: int, factor: int) -> int:
    """The first of the two divisors into which LoKr cuts a size: `factor`, or the largest up to it and the root."""
    if factor > 0 and number % factor == 0:
        return factor
    most = min(number if factor < 0 else factor, int(number**0.5))
    return next(divisor for divisor in range(max(most, 1), 0, -1) if number % divisor == 0)


Shapes = dict[str, tuple[tuple[int, int], tuple[int, int]]]


def _shapes(model: PreTrainedModel, name: str) -> Shapes:
    """The shapes of A and B by module."""
    return {
        path: ((adapter.A.shape[0], adapter.A.shape[1]), (adapter.B.shape[0], adapter.B.shape[1]))
        for path, _, ((_, adapter, _),) in hosted(model, name, (KronAAdapter,))
    }


def _factor(shapes: Shapes) -> int | None:
    """A decompose_factor that gives every module its A, None where there is none."""
    wanted = {(A[axis] * B[axis], A[axis]) for A, B in shapes.values() for axis in (0, 1)}
    candidates = [-1, *sorted({size for _, size in wanted})]
    return next((f for f in candidates if all(factorisation(n, f) == size for n, size in wanted)), None)

"""Norms, gated feed-forwards and rotary embeddings of a model computed by `accorda.kernels`, for as long as it lives.

Nothing is patched globally: a module instance gets a `forward` of its own, and its hooks act as before. Which modules
is not asked of a list of classes but tried: one whose answer to a random input is, bit for bit, that of the kernel's
reference computes the same. A random input does not reach everything (a limit, dropout, a second argument), so a class
is only tried if its code takes one tensor and, of a gated feed-forward, names nothing but its parts. The first of a
class and dtype is tried for all of them. What is not recognised, or cannot be tried, stays as it is.
"""

import copy
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType, MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.kernels import rms_norm, rotary, swiglu

ROTATE = "apply_rotary_pos_emb"  # what models call the function that turns queries and keys
NOTED = "accorda_kernels"  # the attribute of a model that says what was done
VARIADIC = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
WIDTH = 8  # of stand-ins
PARTS = ("gate_proj", "up_proj", "down_proj", "act_fn")  # of a gated feed-forward


@torch.no_grad()
def fuse(model: PreTrainedModel, *, compiled: bool = True) -> dict[str, int]:
    """Give every module that a kernel can compute a forward that uses it; returns how many, by kernel.

    compiled: Triton computes where the model lies; what gains nothing without it is left alone.
    """
    found: Counter[str] = Counter()
    known: dict[object, Callable[..., Any] | None] = {}
    for module in model.modules():
        for name, key, find in _candidates(module, compiled):
            if key not in known:
                known[key] = _found(find, module, model.dtype)
            forward = known[key]
            if forward is not None:
                cast(Any, module).forward = MethodType(forward, module)
                found[name] += 1
    setattr(model, NOTED, dict(found))
    return dict(found)


def fused_of(model: nn.Module) -> dict[str, int]:
    """How many modules of a model compute with which kernel."""
    return dict(getattr(model, NOTED, {}))


def _candidates(
    module: nn.Module, compiled: bool
) -> Iterator[tuple[str, object, Callable[..., Callable[..., Any] | None]]]:
    """The kernel that may compute a module, what tells modules apart for it, and how to find out."""
    weight = getattr(module, "weight", None)
    code = _function(module).__code__
    alone = code.co_argcount == 2 and not code.co_kwonlyargcount and not code.co_flags & VARIADIC
    if isinstance(weight, nn.Parameter) and weight.ndim == 1 and len(module._parameters) == 1 and _eps(module):
        if alone:
            yield "rms_norm", (type(module), weight.dtype), _norm
    elif all(isinstance(getattr(module, part, None), nn.Module) for part in PARTS):
        if alone and set(code.co_names) <= set(PARTS):
            yield "swiglu", (type(module), type(module.get_submodule("act_fn"))), _feed_forward
    elif compiled and ROTATE in code.co_names:
        yield "rotary", type(module), _attention


def _found(find: Callable[..., Callable[..., Any] | None], module: nn.Module, dtype: torch.dtype) -> Any:
    """The forward that takes the place of a module's own; None where it computes something else, or cannot be tried."""
    try:
        return find(module, dtype)
    except Exception:  # code of others, run on an input that it was not made for
        return None


def _norm(module: nn.Module, dtype: torch.dtype) -> Callable[..., Tensor] | None:
    """The forward of a root mean square norm of either form."""
    tried, eps = cast(Any, copy.deepcopy(module)), _eps(module)
    assert eps is not None
    tried = tried.to_empty(device="cpu") if tried.weight.is_meta else tried
    tried.weight.copy_(_random(len(tried.weight), like=tried.weight))  # ones or zeros would tell the forms apart badly
    inputs = [_random(3, len(tried.weight), like=tried.weight.to(kind)) for kind in (torch.float32, dtype)]
    for from_one in (False, True):
        pairs = ((tried(x), rms_norm.reference(x, tried.weight, eps, from_one=from_one)) for x in inputs)
        if all(_same(*pair) for pair in pairs):
            return _norm_from_one if from_one else _norm_times
    return None


def _norm_times(self: Any, hidden_states: Tensor) -> Tensor:
    return _normed(self, hidden_states, from_one=False)


def _norm_from_one(self: Any, hidden_states: Tensor) -> Tensor:
    return _normed(self, hidden_states, from_one=True)


def _normed(self: Any, x: Tensor, *, from_one: bool) -> Tensor:
    return rms_norm.rms_norm(x, self.weight, _eps(self) or 0.0, from_one=from_one)


def _feed_forward(module: nn.Module, dtype: torch.dtype) -> Callable[..., Tensor] | None:
    """The forward of a feed-forward gated by silu."""
    like = _like(module, dtype)
    gate, up, down = (
        _linear(*sizes, like=like) for sizes in ((WIDTH, 2 * WIDTH), (WIDTH, 2 * WIDTH), (2 * WIDTH, WIDTH))
    )
    tried = copy.copy(module)
    tried.__dict__["_modules"] = {**module._modules, **dict(zip(PARTS, (gate, up, down), strict=False))}
    x = _random(1, 2, WIDTH, like=like)
    return _gated if _same(tried(x), down(swiglu.reference(gate(x), up(x)))) else None


def _gated(self: Any, x: Tensor) -> Tensor:
    return self.down_proj(swiglu.swiglu(self.gate_proj(x), self.up_proj(x)))


def _attention(module: nn.Module, dtype: torch.dtype) -> Callable[..., Any] | None:
    """A copy of the class's forward whose global function that turns queries and keys is the kernel's."""
    forward = _function(module)
    theirs = forward.__globals__.get(ROTATE)
    like = _like(module, dtype)
    q, k = _random(2, 4, 3, 8, like=like), _random(2, 2, 3, 8, like=like)
    angles = _random(2, 3, 8, like=like)
    try:
        found = cast(Any, theirs)(q, k, angles.cos(), angles.sin())
        same = len(found) == 2 and all(map(_same, found, _turned_in_torch(q, k, angles.cos(), angles.sin())))
    except (TypeError, RuntimeError, IndexError):  # another signature, or other shapes: another function
        same = False
    if not same:
        return None
    given = {**forward.__globals__, ROTATE: partial(_turn, theirs)}
    copied = FunctionType(forward.__code__, given, forward.__name__, forward.__defaults__, forward.__closure__)
    copied.__kwdefaults__ = forward.__kwdefaults__
    return copied


def _turn(theirs: Any, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> Any:
    """Queries and keys turned, by the model's own function where only a part of each head is, or axes lie otherwise."""
    if unsqueeze_dim != 1 or cos.shape[-1] != q.shape[-1]:
        return theirs(q, k, cos, sin, unsqueeze_dim=unsqueeze_dim)
    return _turn_both(q, k, cos, sin)


def _turn_both(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys (B, H, T, K) turned by their tokens' angles."""
    return rotary.rotate(q, cos, sin), rotary.rotate(k, cos, sin)


def _turned_in_torch(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    return rotary.reference(q, cos, sin), rotary.reference(k, cos, sin)


def _function(module: nn.Module) -> FunctionType:
    """The forward of a module's class; of one that has none that is plain Python, `_unknown`."""
    forward = type(module).forward
    return forward if isinstance(forward, FunctionType) else cast(FunctionType, _unknown)


def _unknown() -> None:
    """Stands for a forward that cannot be looked into."""


def _eps(module: nn.Module) -> float | None:
    found = getattr(module, "variance_epsilon", None) or getattr(module, "eps", None)
    return found if isinstance(found, float) else None


def _like(module: nn.Module, dtype: torch.dtype) -> Tensor:
    """An empty tensor where the module computes; of a module without memory, on the CPU."""
    device = next(module.parameters()).device
    return torch.empty(0, dtype=dtype, device="cpu" if device.type == "meta" else device)


def _linear(before: int, behind: int, *, like: Tensor) -> nn.Linear:
    """A small stand-in for a projection."""
    made = nn.Linear(before, behind, bias=False, device="meta", dtype=like.dtype).to_empty(device=like.device)
    made.weight.copy_(_random(behind, before, like=like))
    return made


def _random(*shape: int, like: Tensor) -> Tensor:
    """Normal numbers of the tensor's dtype on its device, the same each time, the global stream left alone."""
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return drawn.to(like.device, like.dtype)


def _same(found: object, expected: Tensor) -> bool:
    return isinstance(found, Tensor) and found.dtype == expected.dtype and torch.equal(found, expected)

"""Triton and its language, without the types that it does not have."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

triton: Any = import_module("triton")
tl: Any = import_module("triton.language")

if TYPE_CHECKING:
    from typing import Any as constexpr
else:
    constexpr = tl.constexpr

__all__ = ["constexpr", "tl", "triton"]

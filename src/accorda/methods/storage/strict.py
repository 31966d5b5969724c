"""What a file must hold, to the tensor."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor

from accorda.errors import Refusal


@contextmanager
def about(where: str) -> Iterator[None]:
    """Refusals raised inside begin with what they are about."""
    try:
        yield
    except Refusal as refusal:
        raise Refusal(f"{where}: {refusal}") from refusal


def check_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str) -> None:
    """Refuse tensors that are missing, unexpected, of another shape or not of floating point, by name."""
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    if missing or unexpected:
        raise Refusal(
            f"{where}: " + "; ".join(filter(None, [_list("missing", missing), _list("unexpected", unexpected)]))
        )
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            raise Refusal(f"{where}: {name} has shape {shape(found[name])}, this model needs {shape(tensor)}")
        if found[name].is_floating_point() != tensor.is_floating_point():
            raise Refusal(f"{where}: {name} holds {found[name].dtype}, expected {tensor.dtype}")


def _list(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what} {', '.join(names[:3])}{more}"


def shape(tensor: Tensor) -> str:
    """8x32."""
    return "x".join(map(str, tensor.shape)) or "scalar"

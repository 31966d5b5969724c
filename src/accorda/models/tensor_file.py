"""Write a safetensors file tensor by tensor: beside the tensors, a piece of one is in memory at a time.

The bytes are those that the library writes: tensors by dtype, then by name. It writes the entries of the metadata in an
order drawn by chance; here they are sorted, so the bytes follow from the contents.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from accorda.runs.files import written_aside

PIECE = 1 << 20  # bytes
NAMES = {  # of dtypes in a header, in the order in which tensors of them stand in a file
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
PLACES = {dtype: place for place, dtype in enumerate(NAMES)}


def keep(part: Tensor) -> None:
    """What has been read stays where it is."""


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    let_go: Callable[[Tensor], None] = keep,
) -> None:
    """Write a file whole or not at all, with the bytes of `safetensors.torch.save`.

    Args:
        path: the file, which may stand there.
        tensors: of any device and strides; two may share memory, each is written.
        metadata: texts for the header.
        let_go: called with every part of a tensor that was read from it, flat, when it is in the file.

    Raises:
        ValueError: a dtype that the format does not have.
    """
    names = _in_order(tensors)
    with written_aside(path) as file:
        file.write(_header({name: tensors[name] for name in names}, metadata))
        for name in names:
            for part in _parts(tensors[name].detach()):
                file.write(part.cpu().view(torch.uint8).numpy().data)
                let_go(part)


def _in_order(tensors: Mapping[str, Tensor]) -> list[str]:
    for name, tensor in tensors.items():
        if tensor.dtype not in NAMES:
            raise ValueError(f"{name}: {tensor.dtype} has no name in a safetensors file")
    return sorted(tensors, key=lambda name: (PLACES[tensors[name].dtype], name))


def _header(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> bytes:
    """Eight bytes of length, and JSON padded to a multiple of eight."""
    entries: dict[str, object] = {} if metadata is None else {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        entries[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    """The numbers in their order, flat; views, but of a tensor that is not contiguous."""
    flat, step = tensor.reshape(-1), PIECE // tensor.itemsize
    return (flat[begin : begin + step] for begin in range(0, flat.numel(), step))

"""Double quantization: Dettmers, Pagnoni, Holtzman, Zettlemoyer, 2023, QLoRA, arXiv 2305.14314, section 3.

    offset = mean(scale)     nested[b] = max |scale - offset| in the b-th 256     scale ~ MAP[code] nested + offset

The paper says 8-bit floats; bitsandbytes ships a dynamic map, and so does this: seven decades, each with twice as many
steps as the one below it, a sign, zero and one. It has no -1, so the code of a block's lowest scale is a little short.
A value is rounded to one of 65,536 steps before its nearest code is looked up, as bitsandbytes does on a CPU.
"""

import torch
from torch import Tensor
from torch.nn import functional

NESTED_BLOCK = 256
DECADES = 7
STEPS = 65535


def _dynamic_map() -> Tensor:
    """The 256 values of the map, ascending."""
    values = [0.0, 1.0]
    for exponent in range(DECADES):
        borders = torch.linspace(0.1, 1, 2**exponent + 1, dtype=torch.float32)
        steps = 10 ** (exponent - DECADES + 1) * ((borders[:-1] + borders[1:]) / 2.0)
        values += [*steps.tolist(), *(-steps).tolist()]
    return torch.tensor(sorted(values), dtype=torch.float32)


def _nearest(values: Tensor, ascending: Tensor) -> Tensor:
    """The place of the nearest of ascending values, the lower one where two are as near."""
    right = torch.searchsorted(ascending, values)
    left, right = (right - 1).clamp(min=0), right.clamp(max=len(ascending) - 1)
    return torch.where((ascending[right] - values).abs() < (values - ascending[left]).abs(), right, left)


MAP = _dynamic_map()
CODES = _nearest(torch.arange(STEPS + 1) / STEPS * 2 - 1, MAP).to(torch.uint8)  # of each of the 65,536 steps


def quantize_scales(scales: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scales (blocks,) in float32 to codes uint8 (blocks,), nested (blocks / 256,) and the offset, a number."""
    offset = scales.mean()
    centred = scales - offset
    padded = functional.pad(centred, (0, -len(centred) % NESTED_BLOCK)).view(-1, NESTED_BLOCK)
    nested = padded.abs().amax(dim=1)
    places = ((padded / nested[:, None] + 1) * (STEPS / 2) + 0.5).nan_to_num(0.0)  # a block of zeros: code 0
    return CODES.to(scales.device)[places.int()].flatten()[: len(scales)].contiguous(), nested, offset


def dequantize_scales(
    codes: Tensor, nested: Tensor, offset: Tensor, table: Tensor = MAP, block: int = NESTED_BLOCK
) -> Tensor:
    """Scales (blocks,) in float32; `table` and `block` where others chose them."""
    values = table.to(codes.device).index_select(0, codes.int())
    padded = functional.pad(values, (0, len(nested) * block - len(codes))).view(-1, block)
    return (padded * nested[:, None]).view(-1)[: len(codes)] + offset

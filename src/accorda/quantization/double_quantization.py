"""Double quantization: Dettmers, Pagnoni, Holtzman, Zettlemoyer, 2023, QLoRA, arXiv 2305.14314, section 3.

    offset = mean(scale)     nested[b] = max |scale - offset| in the b-th 256     scale ~ MAP[code] nested + offset

The paper says 8-bit floats; bitsandbytes ships the signed dynamic map (see there), and so does this. It has no -1, so
the code of a block's lowest scale is a little short. A value is rounded to one of 65,536 steps before its nearest code
is looked up, as bitsandbytes does on a CPU.
"""

import torch
from torch import Tensor
from torch.nn import functional

from accorda.quantization.dynamic_map import dynamic_map, nearest

NESTED_BLOCK = 256
STEPS = 65535


MAP = dynamic_map(signed=True)
CODES = nearest(torch.arange(STEPS + 1) / STEPS * 2 - 1, MAP)  # of each of the 65,536 steps


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

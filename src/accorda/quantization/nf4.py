"""4-bit NormalFloat: Dettmers, Pagnoni, Holtzman, Zettlemoyer, 2023, QLoRA, arXiv 2305.14314.

    absmax[b] = max |w| in the b-th 64 numbers of W, row by row
    code[i]   = the nearest of NF4's sixteen values to w[i] / absmax        W ~ NF4[code] absmax

NF4's values are quantiles of a normal distribution, so each is used about equally often by trained weights. Double
quantization (see there) keeps the scales in 8 bit: 4 + 8 / 64 + 32 / (64 * 256) = 4.127 bits a number, 4.5 without.

Layout, codes and scales are those of bitsandbytes, bit for bit: two codes a byte, the first in the high half.
Deviations from the paper: the scales of scales are of a dynamic map instead of 8-bit floats, as bitsandbytes has it.
"""

import json
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from accorda.errors import Refusal
from accorda.quantization import double_quantization, kernels
from accorda.quantization.contract import Format, QuantizedLinear
from accorda.quantization.double_quantization import NESTED_BLOCK, dequantize_scales, quantize_scales
from accorda.quantization.kernels.contract import Kernel, Packed
from accorda.quantization.kernels.table import NF4

BLOCK_SIZE = 64
BLOCK_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
PIECE = 1 << 19  # numbers quantized at once, a multiple of every block size
SMALLEST = 1e-38
BORDERS = (NF4[:-1] + NF4[1:]) / 2  # a number on a border gets the lower code
CELLS = 32  # between 0 and 1: so many that no two borders share one, and none is near a cell's end
CODE_OF_CELL = torch.bucketize(torch.arange(2 * CELLS + 1) / CELLS - 1, BORDERS, out_int32=True).to(torch.uint8)
BORDER_IN_CELL = torch.full((2 * CELLS + 1,), torch.inf).index_copy(0, ((BORDERS + 1) * CELLS).long(), BORDERS)
STATE = "weight.quant_state.bitsandbytes__nf4"
NESTED = "weight.nested_absmax"


class NF4Tensor(Packed):
    """A weight (out, in) in NF4. Its kernel is chosen by the device it lies on."""

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The dense weight (out, in)."""
        return kernels.chosen(self.codes.device).dequantize(self, dtype)

    def matmul(self, x: Tensor) -> Tensor:
        """Inputs (..., in) to x @ W.T (..., out)."""
        return kernels.chosen(self.codes.device).matmul(x, self)

    def matmul_back(self, gradient: Tensor) -> Tensor:
        """Gradients (..., out) to gradient @ W (..., in)."""
        return kernels.chosen(self.codes.device).matmul_back(gradient, self)


@torch.no_grad()
def quantize_nf4(weight: Tensor, block_size: int = BLOCK_SIZE, double: bool = True) -> NF4Tensor:
    """Quantize a weight (out, in) of any floating dtype; blocks of zeros stay zero.

    Args:
        weight: the dense weight.
        block_size: numbers that share a scale: 32, 64, ... 4096.
        double: quantize the scales too.

    Raises:
        ValueError: not a matrix of floating numbers; another block size.
    """
    if weight.ndim != 2 or not weight.is_floating_point():
        raise ValueError(f"a weight has two axes and floating numbers, not {tuple(weight.shape)} {weight.dtype}")
    if block_size not in BLOCK_SIZES:
        raise ValueError(f"block_size={block_size} is not one of {', '.join(map(str, BLOCK_SIZES))}")
    numbers = weight.detach().reshape(-1)
    codes = torch.empty(-(-len(numbers) // 2), dtype=torch.uint8, device=weight.device)
    absmax = torch.empty(-(-len(numbers) // block_size), device=weight.device)
    step = len(numbers) if weight.is_meta else PIECE  # shapes alone take no memory, but each piece its time
    for start in range(0, len(numbers), step):
        piece = numbers[start : start + step].float()
        scaled, largest = _scaled(piece, block_size)
        absmax[start // block_size : start // block_size + len(largest)] = largest
        found = _nearest(scaled)
        found = nn.functional.pad(found, (0, len(found) % 2), value=7)  # a zero after the last one of an odd number
        codes[start // 2 : start // 2 + len(found) // 2] = found[::2] << 4 | found[1::2]
    held = quantize_scales(absmax) if double else (absmax, None, None)
    return NF4Tensor(codes[:, None], *held, (weight.shape[0], weight.shape[1]), block_size)


def _nearest(scaled: Tensor) -> Tensor:
    """The code of each number, uint8: that of its cell's lower end, and one more beyond the border inside the cell.

    The same as `torch.bucketize` by BORDERS, eight times as fast on a CPU.
    """
    cells = torch.add(scaled, 1).mul_(CELLS).int().clamp_(0, 2 * CELLS)
    beyond = scaled > BORDER_IN_CELL.to(scaled.device).index_select(0, cells)
    return CODE_OF_CELL.to(scaled.device).index_select(0, cells).add_(beyond)


def _scaled(numbers: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    """Numbers in their share of their block's largest magnitude, and those magnitudes."""
    whole = len(numbers) - len(numbers) % block_size
    blocks, rest = numbers[:whole].view(-1, block_size), numbers[whole:]
    absmax = blocks.abs().amax(dim=1)
    scaled = (blocks * (1.0 / absmax.clamp(min=SMALLEST))[:, None]).flatten()
    if len(rest):
        last = rest.abs().max().clamp(min=SMALLEST)
        absmax, scaled = torch.cat([absmax, last[None]]), torch.cat([scaled, rest / last])
    return scaled, absmax


class NF4Linear(QuantizedLinear):
    """A frozen linear layer on an NF4 weight."""

    held = ("codes", "absmax", "nested_absmax", "offset")
    codes: nn.Parameter
    absmax: nn.Parameter
    nested_absmax: nn.Parameter | None
    offset: nn.Parameter | None

    def __init__(self, weight: NF4Tensor, bias: nn.Parameter | None = None, was_conv1d: bool = False):
        out_features, in_features = weight.shape
        super().__init__(in_features, out_features, bias, was_conv1d)
        self.block_size = weight.block_size
        self.hold(weight.codes, weight.absmax, weight.nested_absmax, weight.offset)

    def assembled(self, *parts: Tensor | None) -> NF4Tensor:
        """The weight from codes, scales, and the scales of those."""
        codes, absmax, nested_absmax, offset = parts
        assert codes is not None
        assert absmax is not None
        shape = (self.out_features, self.in_features)
        return NF4Tensor(codes, absmax, nested_absmax, offset, shape, self.block_size)

    def stored(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """The weight as bitsandbytes names its parts in a checkpoint; dtype: what its own dense form would have."""
        state: dict[str, Any] = {"quant_type": "nf4", "blocksize": self.block_size}
        state["dtype"] = str(dtype).removeprefix("torch.")
        state["shape"] = [self.out_features, self.in_features]
        found = {"weight": self.codes.data, "weight.absmax": self.absmax.data, "weight.quant_map": NF4.clone()}
        if self.nested_absmax is not None and self.offset is not None:
            state |= {"nested_blocksize": NESTED_BLOCK, "nested_dtype": "float32", "nested_offset": self.offset.item()}
            found[NESTED] = self.nested_absmax.data
            found["weight.nested_quant_map"] = double_quantization.MAP.clone()
        return found | {STATE: torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)}

    @property
    def settings(self) -> dict[str, Any]:
        """What a checkpoint's config.json says of such weights."""
        double = self.nested_absmax is not None
        return {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": double}


def kernel_of(model: nn.Module, device: torch.device) -> Kernel | None:
    """What computes with a model's NF4 weights on a device; None where it has none."""
    packed = any(isinstance(module, NF4Linear) for module in model.modules())
    return kernels.chosen(device) if packed else None


def _read(stored: Mapping[str, Tensor]) -> NF4Tensor:
    """A weight from a checkpoint's tensors; scales by another map or in other blocks than ours are kept undoubled."""
    if STATE not in stored:
        raise Refusal("holds 4-bit weights that are not nf4, which alone can be read")
    state = json.loads(bytes(stored[STATE].tolist()))
    if not torch.allclose(stored["weight.quant_map"].float(), NF4, rtol=0, atol=1e-6):
        raise Refusal("holds nf4 weights with other values than NF4's sixteen")
    absmax, nested, offset = stored["weight.absmax"], None, None
    if NESTED in stored:
        nested, offset = stored[NESTED].float(), torch.tensor(float(state["nested_offset"]))
        table, block = stored["weight.nested_quant_map"].float(), state["nested_blocksize"]
        if block != NESTED_BLOCK or not torch.equal(table, double_quantization.MAP):
            absmax, nested, offset = dequantize_scales(absmax, nested, offset, table, block), None, None
    absmax = absmax if nested is not None else absmax.float()
    codes = stored["weight"].contiguous().view(torch.uint8).reshape(-1, 1)
    outputs, inputs = state["shape"]
    return NF4Tensor(codes, absmax, nested, offset, (outputs, inputs), state["blocksize"])


def _num_bytes(out_features: int, in_features: int, *, double: bool) -> int:
    """Half a byte a number; four bytes a block, or with double quantization one, and four per 256 blocks and offset."""
    numbers = out_features * in_features
    blocks = -(-numbers // BLOCK_SIZE)
    scales = blocks + 4 * -(-blocks // NESTED_BLOCK) + 4 if double else 4 * blocks
    return -(-numbers // 2) + scales


def _declared(said: Mapping[str, Any], *, double: bool) -> bool:
    four = bool(said.get("load_in_4bit")) and said.get("bnb_4bit_quant_type") == "nf4"
    return four and bool(said.get("bnb_4bit_use_double_quant")) == double


def _parts(path: str, names: Collection[str], *, double: bool) -> dict[str, str]:
    """All that is called after a weight beside which NF4's state lies, with the scales of scales or without."""
    if f"{path}.{STATE}" not in names or (f"{path}.{NESTED}" in names) != double:
        return {}
    return {name.removeprefix(f"{path}."): name for name in names if name.startswith(f"{path}.weight")}


def _format(double: bool, undoubled: Format | None) -> Format:
    quantize, num_bytes = partial(quantize_nf4, double=double), partial(_num_bytes, double=double)
    declared, parts = partial(_declared, double=double), partial(_parts, double=double)
    return Format("nf4", quantize, NF4Linear, num_bytes, _read, declared, parts, undoubled)


FORMAT = _format(True, _format(False, None))

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import accorda.models.folder
from accorda.errors import Refusal
from accorda.quantization.kernels.table import NF4
from accorda.quantization.nf4 import BORDERS, CELLS, FORMAT, NF4Tensor, _nearest, quantize_nf4

functional = pytest.importorskip("bitsandbytes.functional")

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SHAPES = ((1, 1), (3, 5), (4, 64), (7, 65), (64, 96), (300, 257), (129, 1024))


def weight(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def theirs_dequantized(codes: torch.Tensor, state) -> torch.Tensor:
    """As one row: on a CPU they lose their place where blocks span rows (widths of 16, 32, 48, 80, 96, ...)."""
    whole, state.shape = state.shape, torch.Size((1, state.shape.numel()))
    return functional.dequantize_4bit(codes.view(1, -1).T, state).view(whole)


def equal_to_theirs(dense: torch.Tensor, double: bool = True, block_size: int = 64) -> NF4Tensor:
    """Codes, scales and dequantized values, bit for bit."""
    codes, state = functional.quantize_4bit(dense, quant_type="nf4", compress_statistics=double, blocksize=block_size)
    ours = quantize_nf4(dense, block_size, double)
    assert torch.equal(ours.codes, codes)
    assert ours.absmax.dtype == state.absmax.dtype
    assert torch.equal(ours.absmax, state.absmax)
    if double:
        assert torch.equal(ours.nested_absmax, state.state2.absmax)
        assert torch.equal(ours.offset, state.offset)
    assert torch.equal(ours.dequantize(dense.dtype), theirs_dequantized(codes, state))
    return ours


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("double", [True, False])
def test_random_matrices_are_as_bitsandbytes_has_them(shape, dtype, double):
    for seed in range(3):
        equal_to_theirs(0.02 * weight(*shape, seed=seed).to(dtype), double)


def test_other_block_sizes_pieces_and_layouts():
    equal_to_theirs(weight(100, 130), block_size=128)
    equal_to_theirs(weight(1111, 1003))  # more than two pieces, with a rest
    equal_to_theirs(weight(1024, 1024), double=False, block_size=4096)
    assert torch.equal(quantize_nf4(weight(9, 8).T).codes, quantize_nf4(weight(9, 8).T.contiguous()).codes)


@pytest.mark.parametrize("double", [True, False])
def test_zeros_and_outliers(double):
    for dense in (
        torch.zeros(4, 64),
        torch.zeros(3, 5),
        torch.cat([torch.zeros(5, 64), weight(5, 64), torch.zeros(1, 64)]),
    ):
        equal_to_theirs(dense, double)
        assert not equal_to_theirs(dense, double).dequantize()[dense == 0].any()
    spiked = weight(64, 64)
    spiked[3, 7] = 1e4
    equal_to_theirs(spiked, double)
    equal_to_theirs(torch.full((8, 80), -0.25), double)


def real_matrices(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in load_file(folder / "model.safetensors").items() if tensor.ndim == 2}


def test_real_matrices(stories):
    bundled = accorda.models.folder.model_folder("bundled")
    for folder in (stories, bundled):
        matrices = real_matrices(folder)
        assert len(matrices) > 10
        for dense in matrices.values():
            equal_to_theirs(dense)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(64, 96), (7, 65)])
def test_what_was_dequantized_gets_the_same_codes_again(shape, dtype):
    quantized = quantize_nf4(weight(*shape))
    again = quantize_nf4(quantized.dequantize(dtype))
    assert torch.equal(again.codes, quantized.codes)


def test_the_formula():
    dense = weight(3, 64)
    quantized = quantize_nf4(dense, double=False)
    for row in range(3):
        scale = max(abs(float(entry)) for entry in dense[row])
        nearest = [min(range(16), key=lambda i, e=entry: abs(float(NF4[i]) - float(e) / scale)) for entry in dense[row]]
        packed = [first << 4 | second for first, second in zip(nearest[::2], nearest[1::2], strict=True)]
        assert quantized.codes[32 * row : 32 * row + 32, 0].tolist() == packed
        torch.testing.assert_close(quantized.dequantize()[row], NF4[nearest] * scale)


def test_borders_are_those_of_the_nearest_value():
    up, down = (torch.nextafter(BORDERS, BORDERS + step) for step in (1, -1))
    ends = torch.arange(-CELLS, CELLS + 1) / CELLS
    around = torch.cat([BORDERS, up, down, ends, torch.nextafter(ends, ends - 1), torch.nextafter(ends, ends + 1)])
    assert torch.equal(_nearest(around).int(), torch.bucketize(around, BORDERS, out_int32=True))
    assert len(set(((BORDERS + 1) * CELLS).long().tolist())) == len(BORDERS)


def test_bits_per_number():
    numbers = 4096 * 4096
    assert FORMAT.num_bytes(4096, 4096) * 8 / numbers == pytest.approx(4.127, abs=5e-4)
    assert FORMAT.undoubled is not None
    assert FORMAT.undoubled.num_bytes(4096, 4096) * 8 / numbers == 4.5


def test_their_checkpoints_are_read():
    codes, state = functional.quantize_4bit(weight(8, 128), quant_type="nf4", compress_statistics=True)
    stored = {"weight": codes} | {f"weight.{name}": part for name, part in state.as_dict(packed=True).items()}
    read = FORMAT.read(stored)
    assert torch.equal(read.dequantize(), functional.dequantize_4bit(codes, state))
    assert isinstance(read, NF4Tensor)
    assert read.nested_absmax is not None
    in_halves = stored | {"weight": codes.view(-1).view(torch.bfloat16)[:, None]}  # kept so for sharding
    assert torch.equal(FORMAT.read(in_halves).codes, codes)
    other = state.state2.code.clone()
    other[0] = -1.0
    state.state2.code = other
    undoubled = FORMAT.read(stored | {"weight.nested_quant_map": other})
    assert torch.equal(undoubled.dequantize(), functional.dequantize_4bit(codes, state))


def test_our_checkpoints_are_read_there():
    layer = FORMAT.layer(quantize_nf4(weight(64, 128)), None, False)
    stored = layer.stored(torch.bfloat16)
    state = functional.QuantState.from_dict(
        {name.removeprefix("weight."): part for name, part in stored.items() if name != "weight"}, torch.device("cpu")
    )
    assert torch.equal(functional.dequantize_4bit(stored["weight"], state), layer.dequantize(torch.bfloat16))
    theirs = functional.quantize_4bit(weight(64, 96), quant_type="nf4", compress_statistics=True)[1]
    assert {f"weight.{name}" for name in theirs.as_dict(packed=True)} == stored.keys() - {"weight"}


def test_what_is_refused():
    codes, state = functional.quantize_4bit(weight(8, 64), quant_type="fp4")
    stored = {"weight": codes} | {f"weight.{name}": part for name, part in state.as_dict(packed=True).items()}
    with pytest.raises(Refusal, match="not nf4"):
        FORMAT.read(stored)
    good = FORMAT.layer(quantize_nf4(weight(8, 64)), None, False).stored(torch.float32)
    with pytest.raises(Refusal, match="other values than"):
        FORMAT.read(good | {"weight.quant_map": NF4 / 2})
    with pytest.raises(ValueError, match="block_size=48 is not one of"):
        quantize_nf4(weight(8, 64), 48)
    with pytest.raises(ValueError, match="two axes and floating numbers"):
        quantize_nf4(weight(8))

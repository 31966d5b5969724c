import pytest
import torch

from accorda.quantization.int8 import FORMAT, quantize_int8


def weight(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*(shape or (6, 10)), generator=torch.Generator().manual_seed(seed))


def test_rounding_is_the_formula():
    dense = weight()
    quantized = quantize_int8(dense)
    for row in range(6):
        absmax = max(abs(float(entry)) for entry in dense[row])
        assert float(quantized.SCB[row]) == absmax
        assert quantized.CB[row].tolist() == [round(127 * float(entry) / absmax) for entry in dense[row]]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_no_entry_is_off_by_more_than_half_a_step(scale):
    dense = weight(50, 300) * scale
    quantized = quantize_int8(dense)
    off = (dense - quantized.dequantize()).abs()
    assert torch.all(off <= quantized.SCB[:, None] / 254 * (1 + 1e-5))
    assert off.max() > 0.9 * quantized.SCB.max() / 254  # the bound is tight


def test_zero_rows_and_extremes():
    dense = torch.tensor([[0.0, 0.0], [-3.0, 1.5]])
    quantized = quantize_int8(dense)
    assert quantized.CB.tolist() == [[0, 0], [-127, 64]]
    assert quantized.dequantize()[0].tolist() == [0, 0]
    assert float(quantized.dequantize()[1, 0]) == -3.0


@pytest.mark.parametrize("shape", [(6, 10), (1, 1), (7, 64)])
def test_bytes(shape):
    quantized = quantize_int8(weight(*shape))
    assert quantized.num_bytes == FORMAT.num_bytes(*shape) == shape[0] * shape[1] + 4 * shape[0]


def test_numbers_are_those_of_bitsandbytes():
    functional = pytest.importorskip("bitsandbytes.functional")
    dense = weight(64, 96)
    CB, SCB, _ = functional.int8_vectorwise_quant(dense.half())
    quantized = quantize_int8(dense.half())
    torch.testing.assert_close(quantized.SCB, SCB.float(), rtol=0, atol=0)
    assert (quantized.CB.int() - CB.int()).abs().max() <= 1  # theirs multiplies in half precision
    assert (quantized.CB != CB).float().mean() < 0.02
    theirs = functional.int8_vectorwise_dequant(quantized.CB, quantized.SCB)
    torch.testing.assert_close(quantized.dequantize(), theirs, rtol=1e-6, atol=0)

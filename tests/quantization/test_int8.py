import pytest
import torch
from tests.zoo import batch, make
from torch import nn
from transformers.pytorch_utils import Conv1D

from accorda.quantization.int8 import FORMAT, Int8Linear, quantize_int8


def weight(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*(shape or (6, 10)), generator=torch.Generator().manual_seed(seed))


def linear(bias: bool = True) -> nn.Linear:
    module = nn.Linear(10, 6, bias)
    module.weight.data = weight()
    return module


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


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_forward_is_the_dequantized_linear_in_the_inputs_dtype(bias, dtype):
    dense = linear(bias)
    quantized = Int8Linear.from_dense(dense)
    x = weight(4, 3, 10, seed=1).to(dtype)
    expected = torch.nn.functional.linear(x.float(), quantized.dequantize(), dense.bias)
    got = quantized(x)
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), expected, atol=1e-5 if dtype == torch.float32 else 0.1, rtol=0.02)


def test_gradient_reaches_the_input_and_nothing_else():
    quantized = Int8Linear.from_dense(linear())
    x = weight(3, 10, seed=1).requires_grad_()
    quantized(x).square().sum().backward()
    y = x.detach() @ quantized.dequantize().T + quantized.bias.detach()
    torch.testing.assert_close(x.grad, 2 * y @ quantized.dequantize())
    assert quantized.CB.grad is None
    assert quantized.SCB.grad is None


def test_the_graph_keeps_no_dense_weight():
    quantized = Int8Linear.from_dense(linear())
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        quantized(weight(3, 10, seed=1).requires_grad_())
    assert [(tensor.dtype, tuple(tensor.shape)) for tensor in kept] == [(torch.int8, (6, 10)), (torch.float32, (6,))]


def test_under_autocast_it_computes_like_a_linear():
    dense = linear()
    quantized = Int8Linear.from_dense(dense)
    x = weight(3, 10, seed=1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = quantized(x)
        assert y.dtype == dense(x).dtype == torch.bfloat16
    y.float().sum().backward()
    assert x.grad.dtype == torch.float32


def test_a_cast_model_keeps_exact_scales():
    quantized = Int8Linear.from_dense(linear())
    expected = quantized.dequantize()
    quantized.to(torch.bfloat16)
    assert quantized.bias.dtype == torch.bfloat16
    assert torch.equal(quantized.dequantize(), expected)


def test_conv1d_comes_back_as_conv1d():
    conv = Conv1D(6, 10)
    conv.weight.data, conv.bias.data = weight(10, 6), weight(6, seed=2)
    quantized = Int8Linear.from_dense(conv)
    assert (quantized.in_features, quantized.out_features, tuple(quantized.CB.shape)) == (10, 6, (6, 10))
    x = weight(2, 3, 10, seed=1)
    assert (quantized(x) - conv(x)).abs().max() < 0.05
    back = quantized.dense()
    assert isinstance(back, Conv1D)
    torch.testing.assert_close(back(x), quantized(x))
    assert not back.weight.requires_grad


@pytest.mark.parametrize("bias", [True, False])
def test_dense_is_the_layer_it_stands_for(bias):
    quantized = Int8Linear.from_dense(linear(bias))
    back = quantized.dense(torch.bfloat16)
    assert isinstance(back, nn.Linear)
    assert (back.bias is not None) == bias
    assert torch.equal(back.weight, quantized.dequantize().bfloat16())


def test_weight_is_none_so_that_t5_casts_nothing():
    assert Int8Linear.from_dense(linear()).weight is None
    model = make("t5")
    for block in (*model.encoder.block, *model.decoder.block):
        block.layer[-1].DenseReluDense.wo = Int8Linear.from_dense(block.layer[-1].DenseReluDense.wo)
    assert (model(**batch("t5")).logits - make("t5")(**batch("t5")).logits).abs().max() < 0.02


def test_only_dense_linears_enter():
    with pytest.raises(TypeError, match="LayerNorm is not a dense linear layer"):
        Int8Linear.from_dense(nn.LayerNorm(3))

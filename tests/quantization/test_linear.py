"""What a linear layer in any number format does."""

import pytest
import torch
from tests.zoo import batch, make
from torch import nn
from transformers.pytorch_utils import Conv1D

from accorda.quantization import Format, formats

FORMATS = [one for each in formats().values() for one in (each, each.undoubled) if one is not None]
EVERY = pytest.mark.parametrize("number_format", FORMATS, ids=[f"{n}-{one.name}" for n, one in enumerate(FORMATS)])


def weight(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*(shape or (6, 10)), generator=torch.Generator().manual_seed(seed))


def linear(bias: bool = True) -> nn.Linear:
    module = nn.Linear(10, 6, bias)
    module.weight.data = weight()
    return module


@EVERY
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_forward_is_the_dequantized_linear_in_the_inputs_dtype(number_format: Format, bias, dtype):
    dense = linear(bias)
    quantized = number_format.linear(dense)
    x = weight(4, 3, 10, seed=1).to(dtype)
    expected = torch.nn.functional.linear(x.float(), quantized.dequantize(), dense.bias)
    got = quantized(x)
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), expected, atol=1e-5 if dtype == torch.float32 else 0.1, rtol=0.02)


@EVERY
def test_gradient_reaches_the_input_and_nothing_else(number_format: Format):
    quantized = number_format.linear(linear())
    x = weight(3, 10, seed=1).requires_grad_()
    quantized(x).square().sum().backward()
    y = x.detach() @ quantized.dequantize().T + quantized.bias.detach()
    torch.testing.assert_close(x.grad, 2 * y @ quantized.dequantize())
    assert all(parameter.grad is None for name, parameter in quantized.named_parameters() if name != "bias")


@EVERY
def test_the_graph_keeps_nothing_but_what_the_weight_lies_in(number_format: Format):
    quantized = number_format.linear(linear())
    own = {quantized.get_parameter(name).data_ptr() for name, _ in quantized.named_parameters()}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        quantized(weight(3, 10, seed=1).requires_grad_())
    assert kept
    assert {tensor.data_ptr() for tensor in kept} <= own


@EVERY
def test_under_autocast_it_computes_like_a_linear(number_format: Format):
    dense = linear()
    quantized = number_format.linear(dense)
    x = weight(3, 10, seed=1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = quantized(x)
        assert y.dtype == dense(x).dtype == torch.bfloat16
    y.float().sum().backward()
    assert x.grad.dtype == torch.float32


@EVERY
def test_a_cast_model_keeps_exact_scales(number_format: Format):
    quantized = number_format.linear(linear())
    expected = quantized.dequantize()
    quantized.to(torch.bfloat16)
    assert quantized.bias.dtype == torch.bfloat16
    assert torch.equal(quantized.dequantize(), expected)


@EVERY
def test_conv1d_comes_back_as_conv1d(number_format: Format):
    conv = Conv1D(6, 10)
    conv.weight.data, conv.bias.data = weight(10, 6), weight(6, seed=2)
    quantized = number_format.linear(conv)
    assert (quantized.in_features, quantized.out_features) == (10, 6)
    torch.testing.assert_close(quantized.dequantize(), number_format.quantize(conv.weight.detach().T).dequantize())
    x = weight(2, 3, 10, seed=1)
    assert (quantized(x) - conv(x)).abs().mean() < 0.3
    back = quantized.dense()
    assert isinstance(back, Conv1D)
    torch.testing.assert_close(back(x), quantized(x))
    assert not back.weight.requires_grad


@EVERY
@pytest.mark.parametrize("bias", [True, False])
def test_dense_is_the_layer_it_stands_for(number_format: Format, bias):
    quantized = number_format.linear(linear(bias))
    back = quantized.dense(torch.bfloat16)
    assert isinstance(back, nn.Linear)
    assert (back.bias is not None) == bias
    assert torch.equal(back.weight, quantized.dequantize().bfloat16())


@EVERY
def test_weight_is_none_so_that_t5_casts_nothing(number_format: Format):
    assert number_format.linear(linear()).weight is None
    model = make("t5")
    for block in (*model.encoder.block, *model.decoder.block):
        block.layer[-1].DenseReluDense.wo = number_format.linear(block.layer[-1].DenseReluDense.wo)
    assert (model(**batch("t5")).logits - make("t5")(**batch("t5")).logits).abs().max() < 0.1


@EVERY
def test_only_dense_linears_enter(number_format: Format):
    with pytest.raises(TypeError, match="LayerNorm is not a dense linear layer"):
        number_format.linear(nn.LayerNorm(3))


@EVERY
@pytest.mark.parametrize("bias", [True, False])
def test_what_is_stored_is_read_back(number_format: Format, bias):
    quantized = number_format.linear(linear(bias))
    again = number_format.layer(number_format.read(quantized.stored(torch.bfloat16)), quantized.bias, False)
    assert torch.equal(again.dequantize(), quantized.dequantize())
    assert again.state_dict().keys() == quantized.state_dict().keys()


@EVERY
@pytest.mark.parametrize("shape", [(6, 10), (1, 1), (7, 65), (300, 257)])
def test_bytes(number_format: Format, shape):
    quantized = number_format.quantize(weight(*shape))
    assert quantized.num_bytes == number_format.num_bytes(*shape)
    assert quantized.dequantize().shape == shape

import pytest
import torch

from accorda.quantization.dynamic_map import dynamic_map
from accorda.training.optimizers.adamw_8bit import AdamW8bit
from accorda.training.optimizers.groups import parameter_groups


def quantize(x, table):
    """Blocks of 256, the nearest entry by brute force."""
    codes, constants = [], []
    for block in x.split(256):
        constants.append(block.abs().max())
        codes.append((block[:, None] / constants[-1] - table).abs().argmin(1))
    return torch.cat(codes), torch.stack(constants)


def dequantize(codes, constants, table):
    return torch.cat([table[c] * s for c, s in zip(codes.split(256), constants, strict=True)])


def test_equals_the_papers_formula():
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(50, 100))
    optimizer = AdamW8bit(beta1=0.8, beta2=0.95, epsilon=1e-6).build(parameter_groups({"w": parameter}, 0.1))
    theta = parameter.detach().flatten().clone()
    signed, unsigned = dynamic_map(signed=True), dynamic_map(signed=False)
    m = v = torch.zeros_like(theta)
    for t in range(1, 5):
        lr = 0.01 * t
        optimizer.param_groups[0]["lr"] = lr
        parameter.grad = torch.randn(50, 100)
        g = parameter.grad.flatten()
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        theta = theta - lr * (m / (1 - 0.8**t) / ((v / (1 - 0.95**t)) ** 0.5 + 1e-6) + 0.1 * theta)
        optimizer.step()
        torch.testing.assert_close(parameter.detach().flatten(), theta, atol=1e-5, rtol=1e-4)
        m = dequantize(*quantize(m, signed), signed)
        v = dequantize(*quantize(v, unsigned), unsigned)


def test_state_bytes_are_what_the_bill_counts():
    for shape in ((64, 128), (5, 7)):
        parameter = torch.nn.Parameter(torch.randn(shape))
        optimizer = AdamW8bit().build(parameter_groups({"w": parameter}))
        parameter.grad = torch.ones(shape)
        optimizer.step()
        held = sum(t.nbytes for t in optimizer.state[parameter].values() if isinstance(t, torch.Tensor))
        assert held == AdamW8bit().bytes_per_parameter(shape) * parameter.numel()


def test_a_block_of_zeros_stays_zero():
    parameter = torch.nn.Parameter(torch.ones(64, 128))
    optimizer = AdamW8bit().build(parameter_groups({"w": parameter}))
    optimizer.param_groups[0]["lr"] = 0.1
    parameter.grad = torch.zeros(64, 128)
    parameter.grad[0, 0] = 1.0
    optimizer.step()
    assert torch.equal(parameter.flatten()[1:], torch.ones(64 * 128 - 1))
    assert parameter[0, 0].item() == pytest.approx(0.9)


def test_stays_near_bitsandbytes():
    """Its kernel also keeps the sign of rounded moments, so a few numbers differ by a step of the map."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    torch.manual_seed(0)
    start = torch.randn(64, 128)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    optimizer = AdamW8bit().build(parameter_groups({"w": ours}))
    reference = bitsandbytes.optim.AdamW8bit([theirs], lr=1e-3, weight_decay=0.0)
    optimizer.param_groups[0]["lr"] = 1e-3
    for _ in range(6):
        ours.grad = torch.randn(64, 128)
        theirs.grad = ours.grad.clone()
        optimizer.step()
        reference.step()
    moved = (ours - start).abs().mean()
    assert (ours - theirs).abs().mean() < 0.02 * moved

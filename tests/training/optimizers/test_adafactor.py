import pytest
import torch
from torch import nn
from transformers import Adafactor as Theirs

from accorda.training.optimizers.adafactor import Adafactor
from accorda.training.optimizers.groups import parameter_groups

SHAPES = [(6, 4), (5,), (2, 3, 4), (1, 8), ()]


def parameters() -> list[nn.Parameter]:
    torch.manual_seed(1)
    return [nn.Parameter(torch.randn(shape)) for shape in SHAPES]


@pytest.mark.parametrize("scale_parameter", [False, True])
def test_equals_transformers(scale_parameter: bool) -> None:
    ours, theirs = parameters(), parameters()
    settings = Adafactor(scale_parameter=scale_parameter, clip_threshold=0.7, epsilon1=1e-20, epsilon2=0.01)
    optimizer = settings.build(parameter_groups({str(n): p for n, p in enumerate(ours)}, weight_decay=0.0))
    more = {"scale_parameter": scale_parameter, "relative_step": False, "warmup_init": False}
    reference = Theirs(theirs, lr=0.02, eps=(1e-20, 0.01), clip_threshold=0.7, decay_rate=-0.8, **more)
    for step in range(6):
        torch.manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = 0.02
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape) * 10.0 ** (step - 2)
            other.grad = mine.grad.clone()
        optimizer.step()
        reference.step()
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_scaled_by_parameter_size_it_equals_torch() -> None:
    ours, theirs = parameters(), parameters()
    optimizer = Adafactor(scale_parameter=True).build(parameter_groups({str(n): p for n, p in enumerate(ours)}))
    reference = torch.optim.Adafactor(theirs, lr=0.01, eps=(1e-30, 1e-3))
    for step in range(1, 5):
        torch.manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = 0.01
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape)
            other.grad = mine.grad.clone()
        optimizer.step()
        reference.step()
        for mine, other in zip(ours[:2], theirs[:2], strict=True):  # torch's epsilon for the rest differs
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_weight_decay_is_decoupled() -> None:
    parameter = nn.Parameter(torch.full((2, 2), 3.0))
    optimizer = Adafactor().build(parameter_groups({"w": parameter}, weight_decay=0.5))
    optimizer.param_groups[0]["lr"] = 0.1
    parameter.grad = torch.zeros(2, 2)
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.full((2, 2), 3.0 * (1 - 0.1 * 0.5)))


@pytest.mark.parametrize("shape", [(6, 4), (5,), (2, 3, 4)])
def test_state_bytes_are_what_the_bill_counts(shape: tuple[int, ...]) -> None:
    parameter = nn.Parameter(torch.randn(shape))
    optimizer = Adafactor().build(parameter_groups({"w": parameter}))
    parameter.grad = torch.ones(shape)
    optimizer.step()
    held = sum(t.numel() * t.element_size() for t in optimizer.state[parameter].values() if isinstance(t, torch.Tensor))
    assert held == pytest.approx(Adafactor().bytes_per_parameter(shape) * parameter.numel())

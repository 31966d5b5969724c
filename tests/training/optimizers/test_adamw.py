import torch

from accorda.training.optimizers.adamw import AdamW
from accorda.training.optimizers.groups import parameter_groups


def test_equals_the_papers_formula() -> None:
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(3, 4, dtype=torch.float64))
    settings = AdamW(beta1=0.8, beta2=0.95, epsilon=1e-4)
    optimizer = settings.build(parameter_groups({"w": parameter}, weight_decay=0.1))
    theta, m, v = parameter.detach().clone(), 0.0, 0.0
    for t in range(1, 8):
        lr = 0.01 * t
        optimizer.param_groups[0]["lr"] = lr
        parameter.grad = torch.randn(3, 4, dtype=torch.float64)
        g = parameter.grad
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        theta = theta - lr * (m / (1 - 0.8**t) / ((v / (1 - 0.95**t)) ** 0.5 + 1e-4) + 0.1 * theta)
        optimizer.step()
        torch.testing.assert_close(parameter.detach(), theta)


def test_state_bytes_are_what_the_bill_counts() -> None:
    parameter = torch.nn.Parameter(torch.randn(5, 7))
    optimizer = AdamW().build(parameter_groups({"w": parameter}))
    parameter.grad = torch.ones(5, 7)
    optimizer.step()
    moments = [t for t in optimizer.state[parameter].values() if t.ndim]
    assert sum(t.numel() * t.element_size() for t in moments) == AdamW().bytes_per_parameter((5, 7)) * 35

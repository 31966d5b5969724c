import torch

from accorda.training.optimizers.groups import parameter_groups
from accorda.training.optimizers.paged_adamw_8bit import PagedAdamW8bit


def test_what_is_in_memory_is_the_budget_at_most():
    settings = PagedAdamW8bit(budget_mb=0.15)
    assert settings.bytes_in_memory(50_000) == 50_000
    assert settings.bytes_in_memory(5e9) == 150_000
    parameter = torch.nn.Parameter(torch.zeros(1000, 1000))
    optimizer = settings.build(parameter_groups({"w": parameter}))
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert optimizer.paged == {parameter}
    assert optimizer.state[parameter]["m"].dtype == torch.uint8

"""FLOPs beside torch's own counter, kinds by name, and times that add up."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from accorda.training.profile.operators import (
    ATTENTION,
    BETWEEN,
    LOSS,
    OTHER,
    PRODUCTS,
    REGION,
    Operators,
    add_up,
    kind_of,
)
from accorda.training.profile.operators import flops as flops_of


def recorded(work) -> tuple[Operators, float]:
    """The operators of some work, and its seconds."""
    found = Operators()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, acc_events=False) as recorder:
        torch.ones(50, 50) @ torch.ones(50, 50)  # outside of what is looked at
        with record_function(REGION + "forward"):
            work()
    events = recorder.profiler.kineto_results.events()
    add_up(events, found)
    return found, sum(e.duration_ns() for e in events if e.name().startswith(REGION)) / 1e9


def test_products_are_those_that_torch_counts() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 9), torch.nn.Tanh(), torch.nn.Linear(9, 10, bias=False))
    rows, labels = torch.randn(3, 5, 8, requires_grad=True), torch.arange(15) % 10

    def passes() -> None:
        scores = model(rows).flatten(0, 1)
        (torch.nn.functional.cross_entropy(scores, labels) + torch.bmm(rows, rows.mT).sum()).backward()

    counted = FlopCounterMode(display=False)
    with counted:
        passes()
    found, seconds = recorded(passes)
    assert found.flops == counted.get_total_flops() > 0
    assert found.seconds[LOSS] > 0
    assert found.seconds[PRODUCTS] > 0
    assert found.seconds[OTHER] > 0
    shares = found.shares(seconds)
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) >= 0
    assert shares[BETWEEN] > 0


def test_attention_forward_and_backward() -> None:
    query, key = (torch.ones(2, 3, length, 8, requires_grad=True) for length in (4, 7))
    found, _ = recorded(lambda: torch.nn.functional.scaled_dot_product_attention(query, key, key).sum().backward())
    assert found.seconds[ATTENTION] > found.seconds[PRODUCTS] == 0
    scores = 2 * 3 * 4 * 7
    assert found.flops == (4 + 10) * scores * 8


@pytest.mark.parametrize(
    ("name", "outer", "kind"),
    [
        ("aten::mm", None, PRODUCTS),
        ("aten::mm", LOSS, LOSS),
        ("aten::bmm", PRODUCTS, ATTENTION),
        ("aten::copy_", PRODUCTS, PRODUCTS),
        ("aten::copy_", None, OTHER),
        ("aten::log_softmax", None, LOSS),
        ("aten::_softmax", None, ATTENTION),
        ("_AttentionBackward", OTHER, ATTENTION),
    ],
)
def test_kinds(name: str, outer: str | None, kind: str) -> None:
    assert kind_of(name, outer) == kind


def test_other_operators_have_no_products() -> None:
    assert flops_of("aten::add", [[3, 4], [3, 4]]) == 0
    assert flops_of("aten::addmm", [[5], [3, 4], [4, 5]]) == 2 * 3 * 4 * 5
    assert flops_of("aten::_scaled_dot_product_flash_attention_for_cpu", [[1, 2, 4, 8]] * 3) == 2 * 2 * 4 * 4 * 8


class Event:
    """What kineto tells of an operator, from `start` for `duration` nanoseconds."""

    def __init__(self, name: str, start: int, duration: int, shapes: tuple = ()):
        self.told = {"name": name, "start_ns": start, "duration_ns": duration, "end_ns": start + duration}
        self.told |= {"shapes": shapes, "device_type": torch.profiler.DeviceType.CPU}

    def __getattr__(self, name: str):
        return lambda: self.told.get(name, 0)


def test_a_product_that_hands_on_to_another_counts_once_in_flops_and_time() -> None:
    found = Operators()
    shapes = ([3, 4], [4, 5])
    region = Event(REGION + "backward", 0, 1000)
    add_up([Event("aten::mm", 20, 400, shapes), region, Event("aten::mm", 10, 500, shapes)], found)
    assert found.flops == 2 * 3 * 4 * 5
    assert found.seconds[PRODUCTS] == pytest.approx(500e-9)

import pytest
import torch
from tests.training.tiny import make_loop

from accorda.training.precision import Precision
from accorda.training.profile import Profiler, limit, profiler
from accorda.training.profile.profiler import is_recorded


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    monkeypatch.setattr(limit, "SIZES", {"cpu": (64,)})


def test_few_steps_are_recorded_and_never_the_first_where_there_are_more() -> None:
    assert [step for step in range(1, 70) if is_recorded(step, 69)] == [3, 5, 9, 17, 33, 65]
    assert [[step for step in range(1, n + 1) if is_recorded(step, n)] for n in (1, 2, 3)] == [[1], [2], [3]]


def test_the_speed_is_that_of_the_steps_nobody_recorded(monkeypatch) -> None:
    monkeypatch.setattr(profiler, "product_peak", lambda dtype, device: 1e9)
    watching = Profiler("cpu")
    watching.begin(Precision("bf16"), 6)
    watching.recorded = [3]
    watching.operators.flops = 700.0
    watching._peak = 1000.0
    times = [(1, 9.0), (2, 9.0), (3, 50.0), (4, 2.0), (5, 3.0)]
    told = watching.told([{"event": "step", "step": step, "tokens": 7, "seconds": took} for step, took in times])
    assert told["flops_per_second"] == 100 * 14 / 5
    assert told["share_of_peak"] == pytest.approx(0.28)
    assert told["precision"] == "bf16"


def test_a_loop_that_is_watched_makes_the_same_steps() -> None:
    plain, watched, watching = make_loop(), make_loop(), Profiler("cpu")
    watching.begin(watched.precision, 4)
    watched.part = watching.part
    for _ in range(4):
        expected = plain.step()
        with watching.part("step"):
            found = watched.step()
        assert found["loss"] == expected["loss"]
    assert watching.recorded == [3]
    assert watching.operators.flops > 0
    for name, tensor in plain.parameters().items():
        assert torch.equal(tensor, watched.parameters()[name])
    told = watching.told([{"event": "step", "step": step, "tokens": 5, "seconds": 0.1} for step in range(1, 5)])
    assert {"products", "loss", "optimizer", "data", "this profile"} <= {k for k, v in told["seconds"].items() if v > 0}
    assert sum(told["seconds"].values()) == pytest.approx(sum(watching.clock.seconds.values()))


def test_a_step_that_fails_leaves_no_recorder_behind() -> None:
    watching = Profiler("cpu")
    watching.begin(Precision(), 1)
    with pytest.raises(RuntimeError, match="poison"), watching.part("step"), watching.part("forward"):
        raise RuntimeError("poison")
    with torch.profiler.profile():  # a second recorder would be refused
        pass
    assert watching.clock.inside is None

"""One optimizer step: its loss, its gradient, its state."""

import math
import time
from pathlib import Path

import pytest
import torch
from tests.training.tiny import VOCABULARY, Rows, make_loop, objective, parameters
from torch.nn import functional as F

from accorda.data.batch import IGNORE_INDEX, pad_batch
from accorda.training.loop import Loop, NonFinite, Observer
from accorda.training.optimizers.adafactor import Adafactor
from accorda.training.optimizers.adamw import AdamW
from accorda.training.optimizers.groups import parameter_groups
from accorda.training.precision import LossScale, Precision


class Gradients(Observer):
    """Keeps the gradients of every step, unclipped."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []
        self.began = 0

    def before_first_step(self, loop: Loop) -> None:
        self.began += 1
        torch.rand(5)  # an observer may draw without changing the run

    def after_backward(self, loop: Loop, step: int) -> None:
        assert step == len(self.steps) + 1
        self.steps.append({name: p.grad.clone() for name, p in loop.parameters().items() if p.grad is not None})


def after(steps: int, loop: Loop) -> Loop:
    for _ in range(steps):
        loop.step()
    return loop


def whole_batch_loss(loop: Loop) -> torch.Tensor:
    """The mean over all supervised tokens of the next step, by torch's own cross-entropy on one padded batch."""
    rows = loop.batches.rows(loop.step_number)
    batch = pad_batch([loop.batches.dataset[int(row)] for row in rows], 0)
    logits = loop.model.head(loop.model(batch.input_ids))
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=IGNORE_INDEX)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("micro_tokens", [1, 17, 40, 10_000])
def test_every_split_into_micro_batches_gives_the_gradient_of_the_whole_batch(packed: bool, micro_tokens: int) -> None:
    seen = Gradients()
    loop = make_loop(packed=packed, micro_tokens=micro_tokens, observers=[seen])
    for step in range(3):  # the third has 7 rows instead of 8
        loop.optimizer.zero_grad()
        expected = whole_batch_loss(loop)
        named = loop.parameters()
        gradients = dict(zip(named, torch.autograd.grad(expected, list(named.values())), strict=True))
        event = loop.step()
        assert event["loss"] == pytest.approx(expected.item(), rel=1e-6)
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
        assert event["grad_norm"] == pytest.approx(norm, rel=1e-5)
        for name, gradient in gradients.items():
            torch.testing.assert_close(seen.steps[step][name], gradient, rtol=1e-5, atol=1e-6)


def test_the_event_counts_real_tokens() -> None:
    rows = Rows()
    loop = make_loop(rows=rows, packed=False, num_steps=12)
    chosen = [rows[int(row)] for row in loop.batches.rows(0)]
    event = loop.step()
    assert event | {"seconds": 0, "loss": 0, "grad_norm": 0} == {
        "event": "step",
        "step": 1,
        "loss": 0,
        "learning_rate": 0.005,
        "grad_norm": 0,
        "tokens": sum(map(len, chosen)),
        "supervised_tokens": sum(int(segment.supervised[1:].sum()) for segment in chosen),
        "seconds": 0,
        "memory": None,
    }
    assert loop.step()["learning_rate"] == 0.01


def test_clipping_bounds_the_norm_that_the_optimizer_sees() -> None:
    loops = [make_loop(max_grad_norm=bound) for bound in (None, 1e-3)]
    seen: list[float] = []
    for loop in loops:
        step = loop.optimizer.step

        def watched(loop: Loop = loop, step=step) -> None:
            seen.append(math.sqrt(sum(float(p.grad.square().sum()) for p in loop.parameters().values())))
            step()

        loop.optimizer.step = watched
    events = [loop.step() for loop in loops]
    assert events[0]["grad_norm"] == events[1]["grad_norm"] == pytest.approx(seen[0])
    assert seen[1] == pytest.approx(1e-3, rel=1e-3)


def test_a_group_learns_at_its_own_scale() -> None:
    loop = make_loop()
    named = loop.parameters()
    loop.optimizer = torch.optim.SGD(parameter_groups(named, scales={"head.weight": 4.0}), lr=0.0)
    before = {name: p.detach().clone() for name, p in named.items()}
    seen = Gradients()
    loop.observers, loop.max_grad_norm = [seen], None
    rate = loop.step()["learning_rate"]
    for name, parameter in named.items():
        factor = 4.0 if name == "head.weight" else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] - factor * rate * seen.steps[0][name])


@pytest.mark.parametrize("micro_tokens", [1, 17, 10_000])
def test_an_extra_loss_is_added_once_however_a_step_is_split(micro_tokens: int) -> None:
    seen = Gradients()
    loop = make_loop(micro_tokens=micro_tokens, observers=[seen])
    named = loop.parameters()
    loop.extra_loss = lambda: 0.3 * sum(p.square().sum() for p in named.values())
    data = whole_batch_loss(loop)
    gradients = torch.autograd.grad(data, list(named.values()))
    extra = loop.extra_loss().item()
    expected = {name: g + 0.6 * named[name].detach() for name, g in zip(named, gradients, strict=True)}
    event = loop.step()
    assert event["loss"] == pytest.approx(data.item(), rel=1e-6)  # of the data alone
    assert event["extra_loss"] == pytest.approx(extra, rel=1e-6)
    for name, gradient in expected.items():
        torch.testing.assert_close(seen.steps[0][name], gradient, rtol=1e-5, atol=1e-6)


def test_an_extra_loss_is_scaled_with_the_loss() -> None:
    plain, scaled = make_loop(), make_loop()
    scaled.loss_scale = LossScale(value=1024.0)
    for loop in (plain, scaled):
        loop.extra_loss = loop.model.layer.weight.square().sum
    assert scaled.step()["grad_norm"] == pytest.approx(plain.step()["grad_norm"], rel=1e-5)


def test_between_steps_there_is_the_update_and_still_its_gradient() -> None:
    straight, loop = make_loop(), make_loop()
    told: list[tuple[int, bool, bool]] = []

    def on_step(step: int) -> None:
        moved = parameters(loop) == parameters(straight)
        told.append((step, moved, all(p.grad is not None for p in loop.parameters().values())))

    loop.on_step = on_step
    for _ in range(2):
        straight.step()
        loop.step()
    assert told == [(1, True, True), (2, True, True)]


def test_what_an_interrupted_word_between_steps_left_is_no_state() -> None:
    loop = make_loop()

    def broken(step: int) -> None:
        raise MemoryError

    loop.on_step = broken
    with pytest.raises(MemoryError):
        loop.step()
    with pytest.raises(RuntimeError, match="half-way"):
        loop.state()


@pytest.mark.parametrize("settings", [AdamW(), Adafactor(scale_parameter=True)])
@pytest.mark.parametrize("at", [1, 4])
def test_a_restored_loop_goes_on_bit_for_bit(settings, at: int) -> None:
    straight = make_loop(settings=settings, dropout=0.3)
    events = [straight.step() for _ in range(8)]
    loop = make_loop(settings=settings, dropout=0.3)
    for _ in range(at):
        loop.step()
    state = loop.state()
    loop.step()  # what happens after the state was taken does not change it
    fresh = make_loop(settings=settings, dropout=0.3)
    torch.rand(3)
    fresh.load_state(state)
    later = [fresh.step() for _ in range(8 - at)]
    assert parameters(fresh) == parameters(straight)
    assert [e["loss"] for e in later] == [e["loss"] for e in events[at:]]
    assert [e["learning_rate"] for e in later] == [e["learning_rate"] for e in events[at:]]
    assert fresh.model.layer.uses == straight.model.layer.uses
    fresh.load_state(state)  # the state is as it was: what went on from it did not write into it
    assert [fresh.step()["loss"] for _ in later] == [e["loss"] for e in later]


def test_a_state_of_other_tensors_is_refused() -> None:
    state = make_loop().state()
    del state.tensors["parameters/head.weight"]
    with pytest.raises(ValueError, match=r"other tensors: head\.weight"):
        make_loop().load_state(state)


def test_observers_see_every_step_and_draw_nothing_from_it() -> None:
    seen = Gradients()
    watched = after(3, make_loop(dropout=0.3, observers=[seen]))
    alone = after(3, make_loop(dropout=0.3))
    assert (seen.began, len(seen.steps)) == (1, 3)
    assert parameters(watched) == parameters(alone)


class Slow(Observer):
    def after_backward(self, loop: Loop, step: int) -> None:
        time.sleep(0.5)


def test_seconds_leave_observers_out() -> None:
    loop, began = make_loop(observers=[Slow()]), time.perf_counter()
    seconds = loop.step()["seconds"]
    assert 0 < seconds <= time.perf_counter() - began - 0.5


class Stop(Exception):
    pass


def test_a_step_stopped_between_micro_batches_was_never_begun() -> None:
    straight = after(2, make_loop(dropout=0.3, micro_tokens=12))
    loop = make_loop(dropout=0.3, micro_tokens=12)
    checks = iter([None, None, Stop])

    def check() -> None:
        if next(checks, None):
            raise Stop

    loop.check = check
    with pytest.raises(Stop):
        loop.step()
    assert loop.step_number == 0
    assert all(p.grad is None for p in loop.parameters().values())
    assert loop.model.layer.uses == 0
    assert parameters(after(2, loop)) == parameters(straight)


def test_a_loss_that_is_not_finite_stops_before_the_optimizer() -> None:
    loop = make_loop()
    loop.step()
    before = parameters(loop)
    with torch.no_grad():
        loop.model.embedding.weight[:VOCABULARY] = float("nan")
    with pytest.raises(NonFinite, match="the loss of step 2 is not finite"):
        loop.step()
    assert parameters(loop) == before
    assert loop.step_number == 1


def test_a_gradient_that_is_not_finite_stops_before_the_optimizer() -> None:
    loop = make_loop()
    before = parameters(loop)

    def steep(model, batch):
        loss = objective(model, batch)
        return loss + (model.layer.weight.sum() * 0).sqrt()  # finite, of infinite slope

    loop.objective = steep
    with pytest.raises(NonFinite, match="the gradient of step 1"):
        loop.step()
    assert parameters(loop) == before


def test_after_a_broken_update_there_is_no_state_to_save() -> None:
    loop = make_loop()

    def broken() -> None:
        raise MemoryError

    loop.optimizer.step = broken
    with pytest.raises(MemoryError):
        loop.step()
    with pytest.raises(RuntimeError, match="half-way"):
        loop.state()


def test_loss_scaling_leaves_the_gradient_alone_and_skips_overflow() -> None:
    plain, scaled = make_loop(), make_loop()
    scaled.loss_scale = LossScale(value=1024.0)
    for _ in range(2):
        expected, event = plain.step(), scaled.step()
        assert event["loss"] == pytest.approx(expected["loss"], rel=1e-6)
        assert event["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-5)
    state = scaled.state()
    before = parameters(scaled)
    scaled.loss_scale.value = 1e39  # overflows in fp32
    event = scaled.step()
    assert event["grad_norm"] is None
    assert parameters(scaled) == before
    assert scaled.loss_scale.value == 5e38
    scaled.load_state(state)
    assert scaled.loss_scale == LossScale(value=1024.0, good_steps=2)


def test_fp16_scales_and_fp32_does_not() -> None:
    assert make_loop(precision=Precision("fp16", "cuda")).loss_scale == LossScale()
    assert make_loop().loss_scale is None


def test_the_loop_is_one_page_and_shows_what_it_does() -> None:
    import accorda.training.loop as module

    source = Path(module.__file__).read_text()
    assert source.count("loss.backward()") == source.count("self.optimizer.step()") == 1

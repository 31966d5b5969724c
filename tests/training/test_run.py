"""A whole run: what it writes, how it stops, and that going on is the same as never having stopped."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.tiny import VOCABULARY, checkpoints, make_loop, parameters

from accorda.errors import Refusal, Stopped
from accorda.runs import events
from accorda.runs.layout import RunFolder
from accorda.training import checkpoint
from accorda.training.loop import Loop, Observer
from accorda.training.run import Course, run

STEPS = 12
COURSE = Course(num_steps=STEPS, evaluate_every=5, checkpoint_every=4, keep_checkpoints=2)


def folder(tmp_path: Path, name: str = "run") -> RunFolder:
    made = RunFolder(tmp_path / name)
    made.path.mkdir(exist_ok=True)
    return made


def of_kind(where: RunFolder, kind: str) -> list[dict[str, Any]]:
    return [event for event in events.read(where.events) if event["event"] == kind]


def losses(values: dict[int, float], loop: Loop) -> Callable[[], dict[str, Any]]:
    """An evaluation with scripted results."""
    return lambda: {"eval_loss": values[loop.step_number], "rouge": -values[loop.step_number]}


def drawing(loop: Loop) -> Callable[[], dict[str, Any]]:
    """An evaluation that samples, with the model in eval mode."""

    def evaluate() -> dict[str, Any]:
        loop.model.eval()
        torch.rand(11)
        with torch.no_grad():
            ids = torch.arange(VOCABULARY)[None]
            return {"eval_loss": float(loop.model.head(loop.model(ids)).logsumexp(-1).mean()), "samples": ["a"]}

    return evaluate


def straight_run(tmp_path: Path, **more: Any) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    loop, where = make_loop(dropout=0.3, **more), folder(tmp_path, "straight")
    run(loop, COURSE, where, evaluate=drawing(loop))
    return parameters(loop), events.read(where.events)


def comparable(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Step and evaluation events without what a clock measured."""
    return [{k: v for k, v in e.items() if k != "seconds"} for e in log if e["event"] in ("step", "evaluation")]


def test_a_run_logs_steps_and_evaluations_and_keeps_checkpoints(tmp_path: Path) -> None:
    loop, where = make_loop(), folder(tmp_path)
    values = {0: 9.0, 5: 3.0, 10: 1.0, 12: 2.0}
    shown: list[dict[str, Any]] = []
    course = Course(num_steps=STEPS, evaluate_every=5, checkpoint_every=2, keep_checkpoints=1)
    totals = run(loop, course, where, evaluate=losses(values, loop), show=shown.append)
    assert [e["step"] for e in of_kind(where, "step")] == list(range(1, 13))
    assert [(e["step"], e["eval_loss"]) for e in of_kind(where, "evaluation")] == list(values.items())
    assert checkpoints(where.path) == [10, 12]  # the best is kept beside the last
    assert shown == events.lines(where.events)
    assert totals["steps"] == 12
    assert totals["eval_loss"] == 1.0
    steps = of_kind(where, "step")
    assert totals["train_seconds"] == pytest.approx(sum(e["seconds"] for e in steps))
    assert totals["tokens"] == sum(e["tokens"] for e in steps)
    assert totals["loss"] == steps[-1]["loss"]


def test_the_model_ends_with_the_best_parameters_not_the_last(tmp_path: Path) -> None:
    loop, where = make_loop(), folder(tmp_path)
    run(loop, COURSE, where, evaluate=losses({0: 0.5, 5: 1.0, 10: 2.0, 12: 3.0}, loop))
    best = make_loop()
    for _ in range(5):
        best.step()
    assert parameters(loop) == parameters(best)
    assert of_kind(where, "best") == [{"event": "best", "step": 5, "eval_loss": 1.0}]


@pytest.mark.parametrize(("metric", "best"), [("eval_loss", 5), ("rouge", 12)])
def test_the_metric_decides_which_way_is_better(tmp_path: Path, metric: str, best: int) -> None:
    loop, where = make_loop(), folder(tmp_path)
    scores = {0: (0, 0), 5: (1.0, 0.1), 10: (2.0, 0.2), 12: (3.0, 0.3)}
    course = Course(num_steps=STEPS, evaluate_every=5, best=metric)
    run(loop, course, where, evaluate=lambda: dict(zip(("eval_loss", "rouge"), scores[loop.step_number], strict=True)))
    assert [e["step"] for e in of_kind(where, "best")] == ([5] if best == 5 else [])


def test_patience_ends_the_run_and_the_best_is_the_result(tmp_path: Path) -> None:
    loop, where = make_loop(), folder(tmp_path)
    course = Course(num_steps=STEPS, evaluate_every=2, checkpoint_every=100, patience=2)
    totals = run(loop, course, where, evaluate=losses({0: 9, 2: 3, 4: 4, 6: 1, 8: 2, 10: 1.5}, loop))
    assert totals["steps"] == 10  # the one worse evaluation before the best no longer counts
    assert totals["eval_loss"] == 1
    assert of_kind(where, "stopped_early") == [{"event": "stopped_early", "step": 10, "best": 6}]
    again = make_loop()
    assert run(again, course, where, evaluate=losses({}, again), resume=True) == totals
    assert parameters(again) == parameters(loop)


def test_a_metric_that_no_evaluation_gives_is_refused(tmp_path: Path) -> None:
    loop = make_loop()
    course = Course(num_steps=2, best="bleu")
    with pytest.raises(Refusal, match=r"evaluation\.best: no metric 'bleu' in this run; there are: eval_loss, rouge"):
        run(loop, course, folder(tmp_path), evaluate=losses({0: 1.0}, loop))


def stop_at(loop: Loop, step: int, number: signal.Signals) -> None:
    """Have the signal come between two micro-batches of a step."""
    usual = loop.objective

    def objective(model, batch):
        if loop.step_number + 1 == step:
            os.kill(os.getpid(), number)
        return usual(model, batch)

    loop.objective = objective


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", [1, 3, 4, 5, 12])
def test_a_signal_checkpoints_and_resuming_equals_never_having_stopped(tmp_path: Path, number, step: int) -> None:
    expected, log = straight_run(tmp_path, micro_tokens=20)
    where, loop = folder(tmp_path), make_loop(dropout=0.3, micro_tokens=20)
    stop_at(loop, step, number)
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    with pytest.raises(Stopped, match=rf"stopped by {name} after step {step - 1}; continue with: accorda resume"):
        run(loop, COURSE, where, evaluate=drawing(loop))
    assert step == 1 or checkpoints(where.path)[-1] == step - 1
    [told] = of_kind(where, "stopped")
    assert (told["step"], told["reason"]) == (step - 1, f"stopped by {name} after step {step - 1}")
    fresh = make_loop(dropout=0.3, micro_tokens=20)
    run(fresh, COURSE, where, evaluate=drawing(fresh), resume=True)
    assert parameters(fresh) == expected
    assert comparable(events.read(where.events)) == comparable(log)
    assert of_kind(where, "resumed") == [{"event": "resumed", "from": step - 1}]


def test_a_signal_during_an_evaluation_stops_it_and_the_evaluation_is_made_up_for(tmp_path: Path) -> None:
    expected, log = straight_run(tmp_path)
    where, loop = folder(tmp_path), make_loop(dropout=0.3)
    usual = drawing(loop)

    def evaluate() -> dict[str, Any]:
        if loop.step_number == 5:
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("went on")
        return usual()

    with pytest.raises(Stopped, match="after step 5"):
        run(loop, COURSE, where, evaluate=evaluate)
    fresh = make_loop(dropout=0.3)
    run(fresh, COURSE, where, evaluate=drawing(fresh), resume=True)
    assert parameters(fresh) == expected
    assert comparable(events.read(where.events)) == comparable(log)


def test_a_torn_checkpoint_is_passed_over(tmp_path: Path) -> None:
    expected, log = straight_run(tmp_path)
    where, loop = folder(tmp_path), make_loop(dropout=0.3)
    stop_at(loop, 11, signal.SIGTERM)
    with pytest.raises(Stopped):
        run(loop, COURSE, where, evaluate=drawing(loop))
    assert checkpoints(where.path) == [8, 10]
    os.truncate(where.checkpoint(10) / checkpoint.TENSORS, 1000)
    fresh = make_loop(dropout=0.3)
    run(fresh, COURSE, where, evaluate=drawing(fresh), resume=True)
    assert parameters(fresh) == expected
    assert comparable(events.read(where.events)) == comparable(log)


def test_a_changed_recipe_is_refused(tmp_path: Path) -> None:
    where = folder(tmp_path)
    run(make_loop(), COURSE, where, identity={"recipe": "a", "data": "b"})
    with pytest.raises(Refusal, match="its recipe changed"):
        run(make_loop(), COURSE, where, identity={"recipe": "c", "data": "b"}, resume=True)


def test_a_row_of_poison_stops_the_run_before_it_spoils_anything(tmp_path: Path) -> None:
    where, loop = folder(tmp_path), make_loop()
    rows = loop.batches.dataset
    victim = int(loop.batches.rows(2)[3])
    rows.segments[victim].input_ids[1] = VOCABULARY - 1
    with torch.no_grad():
        loop.model.embedding.weight[VOCABULARY - 1] = float("nan")
    with pytest.raises(Stopped, match=rf"loss of step 3 is not finite: rows\.jsonl:{victim + 1}, first in module emb"):
        run(loop, COURSE, where)
    assert (where.path / "non_finite-step-3.json").exists()
    assert checkpoints(where.path) == [2]
    _, state = checkpoint.latest(where.checkpoints) or pytest.fail("no checkpoint")
    assert all(torch.isfinite(t).all() for t in state.part("parameters").tensors.values())


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_out_of_memory_names_the_settings_that_help(tmp_path: Path, error: Exception) -> None:
    where, loop = folder(tmp_path), make_loop()
    usual = loop.objective

    def objective(model, batch):
        if loop.step_number == 2:
            raise error
        return usual(model, batch)

    loop.objective = objective
    with pytest.raises(Stopped, match=r"out of memory in step 3; lower training\.micro_batch_size"):
        run(loop, COURSE, where)
    assert checkpoints(where.path) == [2]


def test_after_an_update_cut_short_nothing_is_saved(tmp_path: Path) -> None:
    where, loop = folder(tmp_path), make_loop()

    def step() -> None:
        raise MemoryError

    for _ in range(2):
        loop.step()
    loop.optimizer.step = step
    with pytest.raises(Stopped):
        run(loop, COURSE, where)
    assert not where.checkpoints.exists()


def test_a_full_disk_stops_and_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = straight_run(tmp_path)
    where, loop = folder(tmp_path), make_loop(dropout=0.3)
    usual = checkpoint.write_tensors

    def full(path, tensors, **how) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    def write_tensors(path, tensors, **how) -> None:
        (full if loop.step_number == 8 else usual)(path, tensors, **how)

    monkeypatch.setattr(checkpoint, "write_tensors", write_tensors)
    with pytest.raises(Stopped, match=r"the disk is full at .* after step 8; free some space"):
        run(loop, COURSE, where, evaluate=drawing(loop))
    assert sorted(p.name for p in where.checkpoints.iterdir()) == ["step-4", "step-5"]
    monkeypatch.undo()
    fresh = make_loop(dropout=0.3)
    run(fresh, COURSE, where, evaluate=drawing(fresh), resume=True)
    assert parameters(fresh) == expected


def test_a_full_disk_under_the_event_log_stops_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def append(self, event) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(events.EventLog, "append", append)
    with pytest.raises(Stopped, match="the disk is full"):
        run(make_loop(), COURSE, folder(tmp_path))


def test_a_fault_of_ours_is_not_hidden(tmp_path: Path) -> None:
    loop = make_loop()

    def broken(model, batch):
        raise RuntimeError("shapes")

    loop.objective = broken
    with pytest.raises(RuntimeError, match="shapes"):
        run(loop, COURSE, folder(tmp_path))


def test_a_display_that_fails_is_let_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def show(event) -> None:
        raise BrokenPipeError

    loop = make_loop()
    run(loop, COURSE, folder(tmp_path), show=show)
    assert loop.step_number == STEPS
    assert len([r for r in caplog.records if "display failed" in r.message]) == 1


class StepsAndRestores(Observer):
    """Steps the loop at a checkpoint as a proof does, and is interrupted while the loop is out of its place."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def after_checkpoint(self, loop: Loop, folder: Path) -> None:
        self.seen.append(folder.name)
        state = loop.state()
        first = loop.step()
        os.kill(os.getpid(), signal.SIGTERM)
        loop.step()
        loop.load_state(checkpoint.load(folder))
        assert loop.step()["loss"] == first["loss"]
        loop.load_state(state)


def test_an_observer_may_step_the_loop_if_it_puts_it_back(tmp_path: Path) -> None:
    expected, log = straight_run(tmp_path)
    watcher, where = StepsAndRestores(), folder(tmp_path)
    for _ in range(6):  # stopped after every checkpoint
        loop = make_loop(dropout=0.3, observers=[watcher])
        try:
            run(loop, COURSE, where, evaluate=drawing(loop), resume=where.events.exists())
        except Stopped:
            continue
        break
    assert watcher.seen == ["step-4", "step-5", "step-8", "step-10", "step-12"]
    assert parameters(loop) == expected
    assert comparable(events.read(where.events)) == comparable(log)


def test_what_an_evaluation_draws_does_not_change_the_run(tmp_path: Path) -> None:
    loop = make_loop(dropout=0.3)
    for _ in range(STEPS):
        loop.step()
    plain = make_loop(dropout=0.3)
    run(plain, COURSE, folder(tmp_path, "plain"))
    assert parameters(plain) == parameters(loop)
    expected, _ = straight_run(tmp_path)
    assert expected == parameters(loop)

import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.stages.runs import settings

from accorda.errors import Refusal, Stopped
from accorda.recipe.load import load
from accorda.recipe.write import dump
from accorda.runs import events
from accorda.stages import outcome, resume, train, verify
from accorda.training.loop import Loop

TRAIN = "import torch; torch.set_num_threads(1); from accorda.stages import train; import sys; train(sys.argv[1])"
LONG = {"training": {"max_steps": 12, "checkpoint_every": 3}, "method": {"name": "lora", "rank": 2, "dropout": 0.2}}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))


def adapter_bytes(folder):
    return hashlib.sha256((folder.adapter / "adapter_model.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def whole(tmp_path):
    """The adapter of a run nobody disturbed."""
    return adapter_bytes(train(load(settings(tmp_path, "whole", **LONG))).folder)


def killed(tmp_path, name, step):
    """A run in a process of its own, killed with SIGKILL when its log shows a step."""
    recipe = tmp_path / f"{name}.yaml"
    recipe.write_text(dump(load(settings(tmp_path, name, **LONG))), encoding="utf-8")
    log = tmp_path / name / "events.jsonl"
    with subprocess.Popen([sys.executable, "-c", TRAIN, str(recipe)], stderr=subprocess.PIPE) as process:
        while process.poll() is None and not (log.exists() and log.read_bytes().count(b'"step",') > step):
            time.sleep(0.002)
        process.kill()
        _, told = process.communicate()
    assert process.returncode == -signal.SIGKILL, told.decode()
    return tmp_path / name


@pytest.mark.parametrize("step", [0, 4, 9])
def test_a_killed_run_ends_in_the_same_bytes(step, whole, tmp_path):
    folder = killed(tmp_path, "killed", step)
    run = resume(folder)
    assert adapter_bytes(run.folder) == whole
    assert run.proven
    assert [event["step"] for event in events.read(run.folder.events) if event["event"] == "step"] == list(range(1, 13))


def test_a_run_killed_behind_its_card_verifies_once_it_is_resumed(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(outcome, "report", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        child = os.fork()
        if child == 0:
            train(load(settings(tmp_path)))
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    run = tmp_path / "run"
    assert (run / "adapter" / "README.md").is_file()
    assert not (run / "result.json").exists()
    resume(run)
    assert all(proof.verdict == "holds" for proof in verify(run) if proof.name in ("save", "resume"))
    assert (run / "adapter" / "README.md").is_file()


def test_sigterm_saves_and_stops(whole, tmp_path, monkeypatch):
    step = Loop.step

    def step_and_signal(loop):
        told = step(loop)
        if loop.step_number == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return told

    monkeypatch.setattr(Loop, "step", step_and_signal)
    with pytest.raises(Stopped, match=r"SIGTERM.*accorda resume"):
        train(load(settings(tmp_path, "stopped", **LONG)))
    monkeypatch.undo()
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    assert (tmp_path / "stopped" / "checkpoints" / "step-5").is_dir()
    assert "by SIGTERM after step 5" in (tmp_path / "stopped" / "report.html").read_text()
    assert adapter_bytes(resume(tmp_path / "stopped").folder) == whole


def test_changed_data_is_not_resumed(tmp_path):
    folder = killed(tmp_path, "killed", 4)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(rows.read_text().replace("plus", "and"), encoding="utf-8")
    with pytest.raises(Refusal, match="data changed"):
        resume(folder)

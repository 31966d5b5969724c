import pytest

from accorda.proofs.foreign.checkpoint import resumable

FILES = ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth")


@pytest.fixture
def checkpoint(tmp_path):
    for name in FILES:
        (tmp_path / name).write_text("{}")
    return tmp_path


def test_a_result_is_no_checkpoint(tmp_path):
    assert [entry.verdict for entry in resumable(tmp_path)] == ["not applicable"]


def test_a_whole_checkpoint(checkpoint):
    assert {entry.verdict for entry in resumable(checkpoint)} == {"holds"}


@pytest.mark.parametrize("name", FILES[1:])
def test_a_lost_file(checkpoint, name):
    (checkpoint / name).unlink()
    (failed,) = [entry for entry in resumable(checkpoint) if entry.verdict == "fails"]
    assert failed.reason.startswith(f"no {name}: a run resumed from here")


def test_states_of_several_processes(checkpoint):
    (checkpoint / "optimizer.pt").unlink()
    (checkpoint / "rng_state.pth").rename(checkpoint / "rng_state_0.pth")
    (checkpoint / "global_step7").mkdir()
    (checkpoint / "global_step7" / "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt").write_text("")
    assert {entry.verdict for entry in resumable(checkpoint)} == {"holds"}

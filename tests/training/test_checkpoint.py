"""What is written is what is read, and what is torn is seen to be torn."""

import json
import os
from pathlib import Path

import pytest
import torch

from accorda.errors import Refusal
from accorda.training import checkpoint
from accorda.training.checkpoint import State


def state(number: float = 1.0) -> State:
    whole = State(values={"step": 3})
    whole.put("parameters", State({"a.b": torch.full((2, 3), number), "c": torch.tensor(number).bfloat16()}))
    whole.put("rng", State({"torch": torch.arange(5, dtype=torch.uint8)}, {"python": [3, [1, 2], None]}))
    return whole


def test_round_trip_keeps_bits_dtypes_and_values(tmp_path: Path) -> None:
    written = state(0.1)
    checkpoint.save(tmp_path / "step-3", written)
    read = checkpoint.load(tmp_path / "step-3")
    assert read.values == written.values
    assert read.tensors.keys() == written.tensors.keys()
    for name, tensor in written.tensors.items():
        assert read.tensors[name].dtype == tensor.dtype
        assert torch.equal(read.tensors[name], tensor)
    assert read.part("rng").values == {"python": [3, [1, 2], None]}
    assert list(read.part("parameters").tensors) == ["a.b", "c"]
    assert sorted(p.name for p in (tmp_path / "step-3").iterdir()) == ["state.json", "tensors.safetensors"]


def cut_tensors(folder: Path) -> None:
    path = folder / checkpoint.TENSORS
    os.truncate(path, path.stat().st_size - 1)


def flip_a_bit(folder: Path) -> None:
    path = folder / checkpoint.TENSORS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut_state(folder: Path) -> None:
    path = folder / checkpoint.STATE
    os.truncate(path, path.stat().st_size // 2)


def change_state(folder: Path) -> None:
    path = folder / checkpoint.STATE
    path.write_text(path.read_text().replace('\\"step\\": 3', '\\"step\\": 4'))


def drop_tensors(folder: Path) -> None:
    (folder / checkpoint.TENSORS).unlink()


def empty_object(folder: Path) -> None:
    (folder / checkpoint.STATE).write_text(json.dumps({}))


@pytest.mark.parametrize("tear", [cut_tensors, flip_a_bit, cut_state, change_state, drop_tensors, empty_object])
def test_a_torn_checkpoint_is_refused_and_the_one_before_is_found(tmp_path: Path, tear) -> None:
    checkpoint.save(tmp_path / "step-9", state(1.0))
    checkpoint.save(tmp_path / "step-10", state(2.0))
    tear(tmp_path / "step-10")
    with pytest.raises(Refusal, match="step-10"):
        checkpoint.load(tmp_path / "step-10")
    warnings: list[str] = []
    found = checkpoint.latest(tmp_path, warnings.append)
    assert found is not None
    assert found[0].name == "step-9"
    assert "step-10" in warnings[0]


def test_a_folder_that_was_never_renamed_is_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path / "nowhere") is None
    (tmp_path / ".step-5.new").mkdir()
    (tmp_path / "step-x").mkdir()
    assert checkpoint.latest(tmp_path) is None


def test_one_killed_between_the_two_renames_is_put_back(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "step-5", state())
    os.rename(tmp_path / "step-5", tmp_path / ".step-5.old")
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found[0].name == "step-5"


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path, tensors, **how) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_tensors", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path / "step-5", state())
    assert list(tmp_path.iterdir()) == []


def test_pruning_keeps_the_last_and_the_best(tmp_path: Path) -> None:
    for step in (2, 4, 6, 8, 10):
        (tmp_path / f"step-{step}").mkdir()
    (tmp_path / ".step-12.new").mkdir()
    (tmp_path / ".step-10.old").mkdir()
    checkpoint.prune(tmp_path, keep=2, best=4)
    assert [folder.name for folder in checkpoint.folders(tmp_path)] == ["step-4", "step-8", "step-10"]
    assert not list(tmp_path.glob(".*"))


def test_another_identity_is_refused_by_name(tmp_path: Path) -> None:
    checkpoint.require_same({"data": "1"}, {"data": "1"}, tmp_path)
    with pytest.raises(Refusal, match=r"its data changed.*\(1 then, 2 now\)"):
        checkpoint.require_same({"data": "2", "recipe": "5"}, {"data": "1", "recipe": "5"}, tmp_path)

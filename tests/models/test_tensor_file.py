"""Files written tensor by tensor are the library's, byte for byte."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from accorda.methods.storage.files import equal_bytes
from accorda.models import tensor_file
from accorda.models.tensor_file import NAMES, write_tensors

ODD = {
    "z": torch.arange(12.0).reshape(3, 4),
    "a.transposed": torch.arange(12.0).reshape(3, 4).T,
    "number": torch.tensor(1.5),
    "none": torch.empty(0, 3),
    "nan": torch.tensor([float("nan"), -0.0]),
    'é "quoted" \n \x01 \x7f': torch.eye(2, dtype=torch.bfloat16),
}


def one_of_each():
    return {f"{9 - place} {dtype}": torch.ones(3, 5).to(dtype) for place, dtype in enumerate(NAMES)}


def written(place: Path, tensors, metadata=None) -> bytes:
    write_tensors(place / "x.safetensors", tensors, metadata)
    assert [path.name for path in place.iterdir()] == ["x.safetensors"]
    return (place / "x.safetensors").read_bytes()


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"é": '"\n\x02\x7f'}])
@pytest.mark.parametrize("tensors", [{}, ODD, one_of_each(), dict(reversed(one_of_each().items()))])
def test_the_bytes_are_the_librarys(tmp_path, tensors, metadata):
    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    if tensors or metadata != {}:  # then the library writes {},"__metadata__":{}}, which it cannot read
        assert written(tmp_path, tensors, metadata) == save(plain, metadata)
    written(tmp_path, tensors, metadata)
    back = load_file(tmp_path / "x.safetensors")
    assert back.keys() == tensors.keys()
    assert all(equal_bytes(back[name], tensor) for name, tensor in tensors.items())


def test_metadata_is_sorted_where_the_library_draws_its_order(tmp_path):
    metadata = {"format": "pt", "accorda": "{}"}
    plain = {name: tensor.contiguous() for name, tensor in ODD.items()}
    assert written(tmp_path, ODD, metadata) in {save(plain, metadata) for _ in range(64)}
    many = {str(number): "x" for number in range(8)}
    assert written(tmp_path, ODD, many) == written(tmp_path, ODD, dict(reversed(many.items())))


@pytest.mark.parametrize("piece", [16, 24, 4096])
def test_pieces_do_not_show(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(tensor_file, "PIECE", piece)
    assert written(tmp_path, one_of_each()) == save(one_of_each())


def test_every_part_is_let_go_when_it_was_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_file, "PIECE", 16)
    found = []
    write_tensors(tmp_path / "x", {"b": torch.arange(6.0), "a": torch.zeros(1)}, let_go=found.append)
    assert [part.tolist() for part in found] == [[0.0], [0.0, 1.0, 2.0, 3.0], [4.0, 5.0]]


def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    def stop(part):
        raise OSError(28, "No space left on device")

    before = written(tmp_path, ODD)
    with pytest.raises(OSError, match="No space"):
        write_tensors(tmp_path / "x.safetensors", one_of_each(), let_go=stop)
    with pytest.raises(ValueError, match="complex128 has no name"):
        write_tensors(tmp_path / "x.safetensors", {"x": torch.ones(1, dtype=torch.complex128)})
    assert (tmp_path / "x.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


MEASURE = """
import sys
import torch
from accorda.methods.storage import files
torch.set_num_threads(1)
tensors = {str(number): torch.ones(4_000_000) for number in range(8)}
def memory(name): return next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith(name))
files.write(sys.argv[1] + "/small", files.Files({}, {}, {"x": torch.ones(9)}))
open("/proc/self/clear_refs", "w").write("5")
before = memory("VmRSS")
files.write(sys.argv[1] + "/large", files.Files({}, {"a": "b"}, tensors))
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to reset the high-water mark")
def test_an_adapter_is_written_and_checked_a_tensor_at_a_time(tmp_path):
    """128 MB in tensors of 16; the check reads each back and compares it."""
    done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 2 * 16e6 + 8e6

import json

import pytest
import torch
from safetensors.torch import save_file

from accorda.errors import Refusal
from accorda.proofs.tensors import TensorFiles, checksum, is_finite


def test_reads_single_file_and_shards(tmp_path):
    a, b = torch.randn(2, 3), torch.arange(4)
    save_file({"a": a, "b": b}, tmp_path / "one.safetensors")
    assert TensorFiles(tmp_path, "one").shapes == {"a": (2, 3), "b": (4,)}
    save_file({"a": a}, tmp_path / "two-1.safetensors")
    save_file({"b": b}, tmp_path / "two-2.safetensors")
    index = {"weight_map": {"a": "two-1.safetensors", "b": "two-2.safetensors"}}
    (tmp_path / "two.safetensors.index.json").write_text(json.dumps(index))
    files = TensorFiles(tmp_path, "two")
    found = dict(files.items())
    assert found.keys() == {"a", "b"}
    assert torch.equal(found["a"], a)
    assert torch.equal(files.get("b"), b)
    assert files.faults == []


def test_faults_are_told(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "m-1.safetensors")
    index = {"weight_map": {"a": "m-1.safetensors", "x": "m-1.safetensors", "b": "m-2.safetensors"}}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    assert TensorFiles(tmp_path, "m").faults == [
        "m-2.safetensors is named in the index and does not exist",
        "x is named in the index and missing from m-1.safetensors",
    ]
    whole = (tmp_path / "m-1.safetensors").read_bytes()
    (tmp_path / "torn.safetensors").write_bytes(whole[:-3])
    assert "torn.safetensors cannot be read" in TensorFiles(tmp_path, "torn").faults[0]


def test_pickles_are_not_opened(tmp_path):
    with pytest.raises(Refusal, match=r"no model\.safetensors"):
        TensorFiles(tmp_path, "model")
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(Refusal, match=r"pytorch_model\.bin: a pickle file .*safetensors"):
        TensorFiles(tmp_path, "model")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_checksum_sees_every_bit_shape_and_dtype(dtype):
    tensor = torch.arange(24).to(dtype).reshape(4, 6)
    first = checksum(tensor)
    assert checksum(tensor.clone()) == first
    assert checksum(tensor.t().contiguous().t()) == first  # row-major whatever the strides
    assert checksum(tensor.reshape(6, 4)) != first
    tensor.view(torch.uint8)[3, 1] ^= 1
    assert checksum(tensor) != first
    assert checksum(torch.tensor(1.0)) != checksum(torch.tensor([1.0]))
    assert checksum(torch.zeros(0)) != checksum(torch.zeros(0, 2))


def test_checksum_of_a_long_tensor_takes_all_parts():
    tensor = torch.zeros((1 << 24) + 5, dtype=torch.int8)
    first = checksum(tensor)
    tensor[-1] = 1
    assert checksum(tensor) != first


def test_finite():
    assert is_finite(torch.tensor([1, 2]))
    assert is_finite(torch.tensor([1.0]).bfloat16())
    assert not is_finite(torch.tensor([1.0, float("nan")]))
    assert not is_finite(torch.tensor([float("inf")]).bfloat16())

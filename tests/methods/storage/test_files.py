"""The two files of an adapter: whole or not there, the same bytes every time, and a refusal for what is broken."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from accorda.errors import Refusal
from accorda.methods.storage.files import (
    CONFIG,
    PICKLE,
    TENSORS,
    Files,
    equal_bytes,
    is_adapter,
    read,
    write,
)

FILES = Files(
    {"peft_type": "LORA", "r": 2}, {"accorda": '{"a":1}', "other": "x"}, {"b": torch.eye(2), "a": torch.ones(3)}
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "adapter", FILES)
    return tmp_path / "adapter"


def test_what_was_written_is_read(folder: Path):
    back = read(folder)
    assert back.config == FILES.config
    assert back.metadata == {**FILES.metadata, "format": "pt"}
    assert all(equal_bytes(back.tensors[name], tensor) for name, tensor in FILES.tensors.items())
    assert set(os.listdir(folder)) == {CONFIG, TENSORS}
    assert torch.equal(load_file(folder / TENSORS)["b"], torch.eye(2)), "the library reads it too"


def test_the_bytes_depend_on_the_contents_alone(tmp_path: Path):
    metadata = {str(number): "x" for number in range(8)}  # the library itself would write these in a random order
    turned = dict(reversed(metadata.items())), dict(reversed(FILES.tensors.items()))
    assert len({save(FILES.tensors, metadata) for _ in range(8)}) > 1
    write(tmp_path / "one", Files({}, metadata, FILES.tensors))
    write(tmp_path / "other", Files({}, *turned))
    assert (tmp_path / "one" / TENSORS).read_bytes() == (tmp_path / "other" / TENSORS).read_bytes()


def test_views_and_other_dtypes_are_written_as_they_are(tmp_path: Path):
    whole = torch.arange(12.0).reshape(3, 4)
    odd = {
        "transposed": whole.T,
        "row": whole[1],
        "whole": whole,
        "nan": torch.tensor([float("nan")]),
        "half": whole.bfloat16(),
        "none": whole[:0],
    }
    write(tmp_path / "adapter", replace(FILES, tensors=odd))
    assert all(equal_bytes(read(tmp_path / "adapter").tensors[name], tensor) for name, tensor in odd.items())


def test_other_files_beside_the_adapter_stay(folder: Path):
    (folder / "tokenizer.json").write_text("old")
    (folder / "notes").mkdir()
    (folder / "notes" / CONFIG).write_text("a note")
    (folder / PICKLE).write_text("what another adapter was")
    write(folder, replace(FILES, tensors={"c": torch.ones(1)}), beside=lambda new: (new / "card.md").write_text("card"))
    assert set(os.listdir(folder)) == {CONFIG, TENSORS, "tokenizer.json", "notes", "card.md"}
    assert (folder / "notes" / CONFIG).read_text() == "a note"
    assert read(folder).tensors.keys() == {"c"}


def test_a_write_that_fails_leaves_the_old_adapter(folder: Path, monkeypatch: pytest.MonkeyPatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(new: Path) -> None:
        raise OSError("No space left on device")

    def no_rename(source, target):
        raise OSError("cross-device")

    with pytest.raises(OSError, match="No space"):
        write(folder, replace(FILES, config={}), beside=full)
    monkeypatch.setattr(os, "rename", no_rename)
    with pytest.raises(OSError, match="cross-device"):
        write(folder, replace(FILES, config={}))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert os.listdir(folder.parent) == ["adapter"]


def test_what_reads_back_differently_is_never_put_in_place(folder: Path):
    def rot(new: Path) -> None:
        save_file({**FILES.tensors, "a": torch.full((3,), 1.0000001)}, new / TENSORS)

    before = (folder / TENSORS).read_bytes()
    with pytest.raises(OSError, match="read back"):
        write(folder, FILES, beside=rot)
    assert (folder / TENSORS).read_bytes() == before


def test_a_folder_with_other_things_is_not_taken(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(Refusal, match="not an adapter folder and not empty"):
        write(tmp_path, FILES)
    with pytest.raises(Refusal, match="not an adapter folder and not empty"):
        write(tmp_path / "thesis.tex", FILES)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert not is_adapter(tmp_path)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda f: (f / CONFIG).unlink(), "not an adapter folder"),
        (lambda f: (f / CONFIG).write_text("{"), "not JSON"),
        (lambda f: (f / CONFIG).write_bytes(b"\xff\xfe"), "not JSON"),
        (lambda f: (f / CONFIG).write_text("[]"), "expected a JSON object, found list"),
        (lambda f: (f / TENSORS).unlink(), "is missing; the adapter is not complete"),
        (lambda f: (f / TENSORS).rename(f / PICKLE), "a pickle can run code"),
        (lambda f: (f / TENSORS).write_bytes((f / TENSORS).read_bytes()[:-1]), "broken safetensors"),
        (lambda f: (f / TENSORS).write_bytes(b""), "broken safetensors"),
        (lambda f: (f / TENSORS).write_bytes(b"\xff" * 64), "broken safetensors"),
    ],
)
def test_broken_files_are_refused_in_one_line(folder: Path, harm, says: str):
    harm(folder)
    with pytest.raises(Refusal, match=says) as refusal:
        read(folder)
    assert "\n" not in str(refusal.value)
    assert str(folder) in str(refusal.value)


def test_equal_means_every_bit():
    zero, nan = torch.zeros(2), torch.tensor([float("nan")])
    assert equal_bytes(nan, nan.clone())
    assert not equal_bytes(zero, -zero)
    assert not equal_bytes(zero, torch.zeros(2, dtype=torch.int32))
    assert not equal_bytes(zero, torch.zeros(2, 1))

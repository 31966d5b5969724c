from datetime import date
from pathlib import Path

import pytest

from accorda.errors import Refusal
from accorda.runs.layout import RunFolder, default_output


def refused(path: Path) -> str:
    with pytest.raises(Refusal) as caught:
        RunFolder(path).refuse_unless_free()
    return str(caught.value)


def test_what_is_in_the_way_is_said_with_the_way_out(tmp_path):
    run = RunFolder(tmp_path / "a")
    run.refuse_unless_free()
    assert not run.is_run()
    run.path.mkdir()
    run.refuse_unless_free()
    (run.path / "notes").touch()
    assert "is not empty" in refused(run.path)
    run.recipe.touch()
    assert run.is_unfinished()
    assert refused(run.path).endswith(f"continue it with: accorda resume {run.path}")
    run.result.touch()
    assert run.is_complete()
    assert not run.is_unfinished()
    assert "complete run" in refused(run.path)
    assert "is a file" in refused(run.result)
    assert "cannot be written to" in refused(run.result / "below")


def test_checkpoints_are_those_that_were_renamed_into_place(tmp_path):
    run = RunFolder(tmp_path)
    assert run.checkpoint_steps() == []
    for name in ("step-100", "step-20", "step-3", "step-45", "step-9", ".step-200.new", "step-x"):
        (run.checkpoints / name).mkdir(parents=True)
    (run.checkpoints / "step-7").touch()
    assert run.checkpoint_steps() == [3, 9, 20, 45, 100]
    assert run.checkpoint(20).is_dir()


def test_the_default_folder_is_a_new_one(tmp_path):
    first = default_output("sft", "lora", date(2030, 1, 2), root=tmp_path)
    assert first == str(tmp_path / "2030-01-02-sft-lora")
    Path(first).mkdir()
    assert default_output("sft", "lora", date(2030, 1, 2), root=tmp_path) == f"{first}-2"

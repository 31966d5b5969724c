"""Whether a place can be written to, before any work is done."""

import errno
import os
import tempfile

import pytest

from accorda.errors import Refusal
from accorda.runs.files import write_text
from accorda.runs.place import require_writable, shortened
from accorda.runs.replace import replaced


def refused(path) -> str:
    with pytest.raises(Refusal) as caught:
        require_writable(path, "--output")
    return str(caught.value)


def test_a_place_that_takes_files_is_left_as_it_was(tmp_path):
    (tmp_path / "there").mkdir()
    require_writable(tmp_path / "there", "--output")
    require_writable(tmp_path / "new" / "below", "--output")
    assert [each.name for each in tmp_path.rglob("*")] == ["there"]


def test_permissions_that_lie_are_found_out(tmp_path, monkeypatch):
    def full_of_reasons(*args, **kwargs):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), "somewhere/hidden")

    monkeypatch.setattr(tempfile, "mkdtemp", full_of_reasons)
    way_out = f"{tmp_path} cannot be written to (operation not permitted); choose another place"
    assert refused(tmp_path / "run") == f"--output {shortened(str(tmp_path / 'run'))}: {way_out}"


def test_a_folder_that_is_there_is_tried_itself(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    usual = tempfile.mkdtemp

    def closed(suffix=None, prefix=None, dir=None):
        if dir == tmp_path / "there":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return usual(suffix, prefix, dir)

    monkeypatch.setattr(tempfile, "mkdtemp", closed)
    assert f"{tmp_path / 'there'} cannot be written to (permission denied)" in refused(tmp_path / "there")


def test_below_a_file_nothing_can_stand(tmp_path):
    (tmp_path / "file").touch()
    assert "file cannot be written to (not a directory)" in refused(tmp_path / "file" / "run")


def test_room_is_left_for_what_a_name_is_written_aside_as(tmp_path):
    longest = os.pathconf(tmp_path, "PC_NAME_MAX") - len("..new")
    require_writable(tmp_path / ("x" * longest), "--output")
    write_text(tmp_path / ("x" * longest), "it fits")
    said = refused(tmp_path / ("x" * (longest + 1)))
    assert said.endswith(f"{longest + 1} bytes, where {longest} are possible; choose a shorter one")
    assert len(said) < 300


def test_an_error_names_what_was_asked_for(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "x.yaml", tmp_path / "file" / "run"):
        with pytest.raises(NotADirectoryError) as caught:
            write_text(place, "text")
        assert caught.value.filename == str(place)
        with pytest.raises(NotADirectoryError) as caught, replaced(place):
            pass
        assert caught.value.filename == str(place)

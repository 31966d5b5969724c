"""Every command of the README and the pages is run, in its order, in an empty folder."""

import sys

import pytest
import torch
from tests.conftest import SHARED
from tests.docs.pages import PAGES, ROOT, blocks, run_block, shim

WITH_COMMANDS = [page for page in PAGES if blocks(page)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A checkout to stand in: the examples, and ../shared where it is there."""
    here = tmp_path / "checkout"
    here.mkdir()
    (here / "examples").symlink_to(ROOT / "examples")
    if (SHARED / "models").is_dir():
        (tmp_path / "shared").symlink_to(SHARED)
    shim(tmp_path)
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(here)
    yield here
    torch.set_num_threads(1)


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
def test_the_commands_of_the_page_work(page, place):
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        if reason := block.skip or absent(block.text, place):
            sys.stdout.write(f"{where}: not run: {reason}\n")
            continue
        code, printed = run_block(block, place.parent)
        assert code == block.code, f"{where}: ended with {code}:\n{block.text}\n{printed[-3000:]}"
        if block.shown:
            assert printed.splitlines()[-1] == block.shown, where


def absent(text, place):
    """What a block needs and is not here."""
    if "../shared" in text and not (place.parent / "shared").exists():
        return "no ../shared here (set ACCORDA_SHARED)"
    return ""


def test_every_page_has_its_commands_in_blocks():
    """An indented or inline block of commands would not be run."""
    for page in PAGES:
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
            assert not line.startswith("    accorda "), f"{page.name}:{number}: put commands into ```sh"

"""The pages that the code writes, and that nothing is left out of the navigation."""

import importlib.util
import re

import pytest
from tests.docs.pages import PAGES, ROOT

import accorda
from accorda.cli.main import verbs
from accorda.methods.outline import files
from accorda.stages.contract import stages

pytest.importorskip("mkdocs")


@pytest.fixture(scope="module")
def written():
    """Page path -> Markdown."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")  # as mkdocs does for a hook
        spec.loader.exec_module(module)
    return {path: text for section in module.pages().values() for path, text in section.items()}


def test_everything_has_a_page(written):
    pages = [f"methods/{name}.md" for name in files()] + [f"stages/{name}.md" for name in stages()]
    pages += [f"commands/{verb}.md" for verb in verbs()]
    assert {*pages, "methods/index.md", "commands/index.md", "settings.md", "python.md"} == set(written)
    assert re.findall(r"^## (\w+)$", written["python.md"], re.MULTILINE) == sorted(accorda.PUBLIC)


def test_a_page_of_a_method_says_what_its_file_says(written):
    page = written["methods/lora.md"]
    assert "[arXiv:2106.09685](https://arxiv.org/abs/2106.09685)" in page
    assert "```text\ny = W x + b + (alpha / rank) * B A dropout(x)" in page
    assert "| `rank` | `16` | a whole number above 0 |" in page
    assert "- starts as the base, bit for bit" in page
    assert "39,976,960 parameters train" in page  # 16 (I + O) over the 224 linears of Llama 2 7B


def test_tables_have_as_many_cells_as_their_head(written):
    for path, text in written.items():
        for table in re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE):
            rows = [re.sub(r"`[^`]*`|\\\|", "", line).count("|") for line in table.strip().splitlines()]
            assert len(set(rows)) == 1, path


def test_no_page_holds_markup_that_would_vanish(written):
    """`<date>` outside of code is taken for a tag."""
    for path, text in written.items():
        bare = re.sub(r"```.*?```|`[^`\n]*`|<!--.*?-->", "", text, flags=re.DOTALL)
        assert not re.search(r"(?<!\\)<\w", bare), path


def test_every_page_is_in_the_navigation_and_every_link_leads_somewhere(written):
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        assert page.parent == ROOT or f": {page.name}\n" in nav, page.name
        for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8")):
            relative = (page.parent / target).resolve()
            assert relative.exists() or target in written, f"{page.name}: {target}"

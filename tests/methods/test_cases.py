"""The contract suite runs over what the README promises."""

import re
from pathlib import Path

import pytest
from tests.methods.cases import FORMATS, every_case, other_cases, promised

from accorda.methods.registry import methods

README = Path(__file__).resolve().parents[2] / "README.md"
MET = promised(every_case() + other_cases())


def named_architectures() -> set[str]:
    """The architectures of the sentence that says over which models every method works."""
    found = re.search(r"int8 or nf4, over (llama.*?)\.\s", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return set(re.split(r",\s+|\s+and\s+", found[1]))


def test_every_architecture_meets_every_number_format():
    met = {(case.architecture.partition("_")[0], case.number_format) for case in MET}
    wanted = {(name.partition("_")[0], number) for name in named_architectures() for number in FORMATS}
    assert wanted - met == set()


@pytest.mark.parametrize("name", methods())
def test_every_method_meets_every_architecture_and_number_format_that_it_promises(name):
    own = [case for case in MET if case.name == name]
    met = {case.architecture.partition("_")[0] for case in own}
    keeping = {"falcon"} if methods()[name].traits.needs_attention else set()  # Falcon runs attention of its own
    assert {each.partition("_")[0] for each in named_architectures()} - met == keeping
    assert {case.number_format for case in own} == set(FORMATS if methods()[name].traits.quantized_base else ["dense"])

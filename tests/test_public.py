"""The public names of the package."""

import dataclasses
import subprocess
import sys

import pytest

import accorda


@pytest.mark.parametrize("name", sorted(accorda.PUBLIC))
def test_every_public_name_is_a_documented_function(name):
    found = getattr(accorda, name)
    assert callable(found)
    assert found.__doc__
    assert found.__name__ == name
    assert name in dir(accorda)


def test_names_are_sorted():
    assert list(accorda.PUBLIC) == sorted(accorda.PUBLIC)


def test_every_method_is_public_by_its_class():
    for method in accorda.methods().values():
        assert getattr(accorda, method.__name__) is method
    assert dataclasses.is_dataclass(accorda.LoRA(rank=3))


def test_the_registry_is_callable_whatever_was_imported_before():
    code = "import accorda.methods.registry, accorda; print(sorted(accorda.methods())[0]); accorda.methods.registry"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == min(accorda.methods())


@pytest.mark.parametrize("name", ["lora", "Nothing", "_private"])
def test_other_names_are_none(name):
    with pytest.raises(AttributeError, match=name):
        getattr(accorda, name)

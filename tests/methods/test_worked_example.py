"""CONTRIBUTING's "add a method" is a method: the example is run as it stands there."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tests.zoo import batch, make

from accorda.methods import outline
from accorda.methods.contract import NotMergeable
from accorda.methods.install import freeze, install, own_tensors
from accorda.methods.merging import merge

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"


@pytest.fixture
def ssf(monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.S)
    module = ModuleType("accorda.methods.additive.ssf")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up
    exec(compile(code, str(CONTRIBUTING), "exec"), module.__dict__)
    return module.SSF


def test_its_file_can_be_read_as_text(ssf, tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.S)
    (tmp_path / "additive").mkdir()
    (tmp_path / "additive" / "ssf.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(outline, "HERE", tmp_path)
    told = outline.outline("ssf")
    assert (told.kind, told.paper, told.traits["mergeable"]) == ("module", ssf.paper, True)
    assert told.defaults == {"target_modules": "all-linear"}


@pytest.mark.parametrize(("architecture", "merges"), [("gpt2", True), ("llama", False)])
def test_the_worked_example(ssf, architecture, merges):
    model, inputs, method = freeze(make(architecture)), batch(architecture), ssf()
    base = model(**inputs).logits
    install(model, method)
    assert method.family == "additive"
    assert torch.equal(model(**inputs).logits, base)
    with torch.no_grad():
        for tensor in own_tensors(model, "default").values():
            tensor.add_(0.1 * torch.randn_like(tensor))
    tuned = model(**inputs).logits
    assert not torch.allclose(tuned, base)
    if merges:
        torch.testing.assert_close(merge(model)(**inputs).logits, tuned, atol=1e-5, rtol=1e-5)
    else:
        with pytest.raises(NotMergeable, match="no place"):
            merge(model)

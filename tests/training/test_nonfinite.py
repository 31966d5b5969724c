"""The row and the module that made a step non-finite are named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.tiny import VOCABULARY, Rows, make_loop
from torch import nn

from accorda.training.loop import Loop, NonFinite
from accorda.training.nonfinite import explain
from accorda.training.precision import Precision

POISON = VOCABULARY - 1


def poisoned(*indices: int) -> Rows:
    """Rows of which some hold a token that no other row has."""
    rows = Rows()
    for index in indices:
        ids = rows[index].input_ids.copy()
        ids[1] = POISON
        rows.segments[index] = replace(rows[index], input_ids=ids)
    return rows


def fault_of(loop: Loop) -> NonFinite:
    try:
        for _ in range(3):
            loop.step()
    except NonFinite as fault:
        return fault
    pytest.fail("every step was finite")


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("micro_tokens", [20, 1000])
def test_the_row_the_module_and_the_file_are_named(tmp_path: Path, packed: bool, micro_tokens: int) -> None:
    loop = make_loop(rows=poisoned(6), packed=packed, micro_tokens=micro_tokens, dropout=0.2)
    with torch.no_grad():
        loop.model.embedding.weight[POISON] = 1e30
    loop.model.dropout = nn.Sequential(loop.model.dropout, Overflow())
    fault = fault_of(loop)
    before = torch.get_rng_state()
    said = explain(loop, fault, tmp_path)
    step = loop.step_number + 1
    assert said.startswith(f"the loss of step {step} is not finite: rows.jsonl:7, first in module dropout.1 (")
    assert "training.learning_rate" in said
    record = json.loads((tmp_path / f"non_finite-step-{step}.json").read_text())
    assert [(row["line"], row["index"]) for row in record["rows"]] == [(7, 6)]
    assert record["rows"][0]["input_ids"][1] == POISON
    assert record["module"] == "dropout.1"
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in loop.parameters().values())


class Overflow(nn.Module):
    """Changes nothing as long as sums of squares can be held."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        square = x @ x.transpose(-1, -2)
        return x + (square - square).sum()


class Root(nn.Module):
    """Finite at zero, where its slope is not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.abs().sqrt()


def test_a_gradient_is_traced_to_the_module_it_broke_in(tmp_path: Path) -> None:
    loop = make_loop(rows=poisoned(3, 11), batch_size=23, micro_tokens=20)
    with torch.no_grad():
        loop.model.embedding.weight[POISON] = 0
        loop.model.layer.bias.zero_()
    loop.model.norm = nn.Sequential(Root(), loop.model.norm)
    said = explain(loop, fault_of(loop), tmp_path)
    assert "the gradient of step 1 is not finite: " in said
    assert "rows.jsonl:4" in said
    assert "rows.jsonl:12" in said
    assert "first in module norm.0 (" in said


def test_a_parameter_that_was_broken_before_is_named(tmp_path: Path) -> None:
    loop = make_loop()
    loop.step()
    with torch.no_grad():
        loop.model.head.weight[0, 0] = float("inf")
    said = explain(loop, fault_of(loop), tmp_path)
    assert "the parameter head.weight was not finite before; lower training.learning_rate" in said


def test_numbers_that_only_overflow_in_half_precision_are_told_from_bad_data(tmp_path: Path) -> None:
    loop = make_loop(rows=poisoned(2), batch_size=23)
    loop.precision = Precision("fp16", "cpu")
    with torch.no_grad():
        loop.model.embedding.weight[POISON] = 300.0
    loop.model.dropout = Overflow()
    said = explain(loop, fault_of(loop), tmp_path)
    assert "rows.jsonl:3" in said
    assert "set training.precision to fp32, where it is finite" in said


def test_a_base_that_is_broken_is_told(tmp_path: Path) -> None:
    loop = make_loop(rows=poisoned(6))
    with torch.no_grad():
        loop.model.embedding.weight[POISON] = float("nan")
    said = explain(loop, fault_of(loop), tmp_path)
    assert "rows.jsonl:7, first in module embedding, the base's embedding.weight is not finite (" in said

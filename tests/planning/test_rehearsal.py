import pytest
import torch
from tests.stages.runs import settings

from accorda.planning.rehearsal import largest, rehearse, saved_bytes, storage_bytes
from accorda.recipe.load import load
from accorda.stages.build import build
from accorda.training.optimizers.registry import read


@pytest.fixture
def session(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    return build(load(settings(tmp_path)))


def test_the_exact_items(session):
    bill = rehearse(session, read({"name": "adamw"}))
    trained = sum(p.numel() for p in session.model.parameters() if p.requires_grad)
    every = {id(p): p.numel() * 4 for p in [*session.model.parameters(), *session.model.buffers()]}
    assert bill.gradients == 4 * trained
    assert bill.optimizer == 8 * trained
    assert bill.weights == sum(every.values())
    assert bill.total == bill.weights + bill.gradients + bill.optimizer + bill.activations


def test_activations_grow_with_the_batch_and_leave_nothing_behind(session):
    few, many = session.batches.at(0)[0], largest(session)
    assert many.num_tokens >= few.num_tokens
    before = {name: p.detach().clone() for name, p in session.model.named_parameters()}
    assert saved_bytes(session, many) >= 4 * many.num_tokens * session.model.config.hidden_size
    assert all(p.grad is None and torch.equal(p, before[name]) for name, p in session.model.named_parameters())


def test_tied_weights_count_once():
    weight = torch.nn.Parameter(torch.zeros(10, 10))
    assert storage_bytes([weight, weight.T, torch.zeros(5)]) == 420

"""The bill of a run, before it and in its result."""

import json

import pytest
import torch
from tests.stages.runs import settings

from accorda.planning.price import COMPILED, OVERHEAD
from accorda.quantization import formats
from accorda.recipe.load import load
from accorda.stages import preflight, train
from accorda.stages.build import build


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))


def test_what_is_known_exactly(tmp_path):
    session = build(load(settings(tmp_path)))
    bill = preflight.bill(session)
    trained = sum(p.numel() for p in session.model.parameters() if p.requires_grad)
    frozen = {id(p): p.nbytes for p in [*session.model.parameters(), *session.model.buffers()] if not p.requires_grad}
    assert bill["weights"] == sum(frozen.values())
    assert bill["adapter"] == 4 * trained
    states = 8 * trained + 4 * len([p for p in session.model.parameters() if p.requires_grad])  # a step count each
    assert bill["optimizer states"] == states
    assert bill["overhead"] == OVERHEAD["cpu"]
    assert all(p.grad is None for p in session.model.parameters())


def test_products_in_16_bit_bring_their_compiled_kernels(tmp_path):
    bill = preflight.bill(build(load(settings(tmp_path, training={"precision": "bf16"}))))
    assert bill["overhead"] == OVERHEAD["cpu"] + COMPILED


def test_training_everything_keeps_the_base_beside_it_only_if_asked(tmp_path):
    kept = preflight.bill(build(load(settings(tmp_path, method={"name": "full"}))))
    gone = preflight.bill(build(load(settings(tmp_path, "other", method={"name": "full", "keep_base": False}))))
    assert kept["base copy"] == pytest.approx(kept["weights"], rel=0.01)
    assert gone["base copy"] == 0


def test_the_proof_of_resume_counts_where_it_is_drawn_on_the_way(tmp_path):
    early = preflight.bill(build(load(settings(tmp_path, training={"checkpoint_every": 2}))))
    late = preflight.bill(
        build(load(settings(tmp_path, "late", training={"checkpoint_every": 9}, evaluation={"every": 9})))
    )
    assert {"proof of resume", "checkpoint read back"} <= {moment.name for moment in early.moments}
    assert "copies" not in {item.name for moment in late.moments for item in moment.items}
    assert early["copies"] >= early["adapter"] + early["optimizer states"] - 100


def test_answers_bring_a_cache(tmp_path):
    plain = preflight.bill(build(load(settings(tmp_path))))
    answering = preflight.bill(build(load(settings(tmp_path, "other", evaluation={"generate": 2}))))
    assert plain["key/value cache"] == 0
    assert answering["key/value cache"] > 0


@pytest.mark.parametrize("number", formats())
def test_no_page_of_the_file_stays_beside_packed_weights(tmp_path, number):
    session = build(load(settings(tmp_path, model={"quantization": number})))
    bill = preflight.bill(session)
    assert bill["mapped files"] == 0
    assert bill["weights"] == sum(p.nbytes for p in session.model.parameters() if not p.requires_grad) + sum(
        buffer.nbytes for buffer in session.model.buffers()
    )


def test_double_quantization_is_billed(tmp_path):
    bills = [
        preflight.bill(build(load(settings(tmp_path, model={"quantization": "nf4", "double_quantization": double}))))
        for double in (True, False)
    ]
    assert bills[0]["weights"] < bills[1]["weights"]


def test_nothing_is_drawn(tmp_path):
    session = build(load(settings(tmp_path)))
    state = torch.get_rng_state()
    preflight.bill(session)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_result_holds_the_bill(tmp_path):
    run = train(settings(tmp_path))
    stored = json.loads(run.folder.result.read_text(encoding="utf-8"))
    assert stored["bill_bytes"] == stored["bill"]["total"] == sum(item["bytes"] for item in stored["bill"]["items"])
    assert {"name", "bytes", "says"} == set(stored["bill"]["items"][0])

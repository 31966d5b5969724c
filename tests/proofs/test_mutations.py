"""Each mutation of the running code is refused by a proof, in a real run of the stage."""

import pytest
from tests.proofs.mutations import MUTATIONS, UNMUTATED, Mutation, outcome

PLAIN = (
    UNMUTATED,
    Mutation("recomputing", lambda patch: None, (), sections={"training": {"gradient_checkpointing": True}}),
    Mutation("fused", lambda patch: None, (), "gpt_neox", MUTATIONS[-1].sections),
    Mutation("long rows", lambda patch: None, (), sections={"data": {"max_length": 48}}, before=MUTATIONS[7].before),
)


@pytest.mark.parametrize("plain", PLAIN, ids=lambda mutation: mutation.name)
def test_the_same_runs_unmutated_are_proven(tmp_path, monkeypatch, plain):
    found = outcome(tmp_path, plain, monkeypatch)
    assert found.refused_by == (), found.reason


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_proof_refuses(tmp_path, monkeypatch, mutation):
    found = outcome(tmp_path, mutation, monkeypatch)
    assert set(mutation.refused_by) <= set(found.refused_by), found
    assert found.reason


def test_there_are_twelve():
    assert len({mutation.name for mutation in MUTATIONS}) == 12

"""The benchmark of known optima: a seed's gap is the one that the seed has alone."""

from tests.objectives.enumerable import world
from tests.objectives.test_oracle import dpo_policy

from benchmarks import rl_oracle


def test_a_seed_of_soft_labels_is_what_it_is_alone(monkeypatch):
    monkeypatch.setattr(rl_oracle, "SEEDS", 2)
    found = rl_oracle.soft_labels()
    alone = [round(where.gap(dpo_policy(where)), 4) for where in map(world, range(2))]
    assert found["gaps"] == alone
    assert found["worst"] == max(alone) < rl_oracle.DPO_BOUND

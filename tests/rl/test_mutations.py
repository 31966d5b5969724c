"""Wrong lines that public trainers have had, put into our code one at a time: a test must see each of them.

A mutation replaces text in the source of one function and gives its code to the function itself, so every caller has
it. The check is run as the suite runs it elsewhere, where it passes.
"""

import importlib
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.objectives.policy import test_aggregation, test_clipped
from tests.objectives.preference import test_dpo
from tests.rl import test_failures
from tests.rl.enumerable import BETA, learn, world
from tests.stages.compared import PAIRS
from tests.training import test_preferring, test_rewarding

from accorda.methods.reparametrized.lora import LoRA
from accorda.rl.registry import algorithms

RLOO = algorithms()["rloo"]
DISTANCE = 'one.told["old_log_probs"] - one.told["reference_log_probs"]'


def half_way(place: Any) -> None:
    """A short run comes nearer to the optimum than half of the way."""
    one = world(RLOO(kl_coef=BETA), episodes=128, steps=20, rate=1e-2)
    learn(one, one.steps)
    assert one.gap(BETA) < 0.5


def ends_are_learned(place: Any) -> None:
    dataset = test_preferring.rows_of(PAIRS, place)
    assert all(answer.supervised[-1] for answer in dataset[0].answers)


@dataclass(frozen=True)
class Mutation:
    """Other text in a function, and the check that sees it; it is given an empty folder."""

    name: str
    function: str
    old: str
    new: str
    check: Callable[[Any], object]


POLICY, OBJECTIVES = "accorda.training.policy:", "accorda.objectives.policy."
MUTATIONS = [
    Mutation("no distance", "accorda.rl.advantage:log_ratios", DISTANCE, 'one.told["old_log_probs"] * 0.0', half_way),
    Mutation(
        "a distance of the wrong sign",
        "accorda.rl.advantage:log_ratios",
        DISTANCE,
        'one.told["reference_log_probs"] - one.told["old_log_probs"]',
        half_way,
    ),
    Mutation(
        "the policy as its own reference",
        POLICY + "Policy.referred",
        "use(model, self.reference)",
        "use(model, *acting(model))",
        lambda place: test_failures.test_1_the_mean_distance_is_no_less_than_its_error_allows(),
    ),
    Mutation(
        "log-probabilities shifted by one",
        "accorda.training.next_token:predicting",
        "index_select(0, positions)",
        "index_select(0, (positions - 1).clamp(min=0))",
        lambda place: test_failures.test_7_and_12_the_rollout_and_training_agree_token_by_token(1.0),
    ),
    Mutation(
        "the end is not learned",
        "accorda.data.prompts.experience:sample",
        "np.arange(len(input_ids)) >= len(prompt)",
        "np.arange(len(input_ids)) % (len(input_ids) - 1) >= len(prompt)",
        lambda place: test_failures.test_4_padding_with_the_end_token_changes_nothing(),
    ),
    Mutation(
        "the score a token early",
        OBJECTIVES + "rewards:last_token",
        "after == 1",
        "after == 2",
        lambda place: test_failures.test_2_the_score_stands_on_the_last_sampled_token(),
    ),
    Mutation(
        "the score in the last column",
        OBJECTIVES + "rewards:last_token",
        "(after == 1) & mask.bool()",
        "torch.arange(mask.shape[1]).expand_as(mask) == mask.shape[1] - 1",
        lambda place: test_failures.test_2_the_score_stands_on_the_last_sampled_token(),
    ),
    Mutation(
        "values behind the end",
        OBJECTIVES + "gae:gae",
        "torch.where(here, values[:, t], next_value)",
        "values[:, t]",
        lambda place: test_failures.test_24_values_behind_the_end_say_nothing(),
    ),
    Mutation(
        "rewards whitened with a shift",
        OBJECTIVES + "whitening:whiten",
        "white if shift_mean else white + mean.to(x.dtype)",
        "white",
        lambda place: test_failures.test_23_whitening_without_a_shift_keeps_the_mean(),
    ),
    Mutation(
        "a temperature in the rollout alone",
        POLICY + "at_temperature",
        " / temperature",
        "",
        lambda place: test_failures.test_7_and_12_the_rollout_and_training_agree_token_by_token(0.5),
    ),
    Mutation(
        "dropout in training",
        POLICY + "Policy.__init__",
        "without_dropout(model)",
        "pass",
        lambda place: test_failures.test_8_dropout_plays_no_part(RLOO()),
    ),
    Mutation(
        "the better of clipped and not",
        OBJECTIVES + "clipped:clipped",
        "torch.maximum",
        "torch.minimum",
        lambda place: test_clipped.test_golden_numbers(),
    ),
    Mutation(
        "whitened over padding",
        OBJECTIVES + "whitening:sums",
        "mask.sum().double()",
        "torch.tensor(float(mask.numel()), dtype=torch.float64)",
        lambda place: test_failures.test_20_whitening_sees_no_padding(),
    ),
    Mutation(
        "a mean of answers' means",
        OBJECTIVES + "aggregation:dapo",
        "mask / max(1, step.num_tokens)",
        "mask / mask.sum(-1, keepdim=True) / step.num_sequences",
        lambda place: test_aggregation.test_by_hand("dapo", 1 / 4, 1 / 4),
    ),
    Mutation(
        "values that begin at random",
        POLICY + "Value.__init__",
        "nn.init.zeros_",
        "nn.init.normal_",
        lambda place: test_failures.test_10_values_begin_at_zero_and_learn_to_foretell(),
    ),
    Mutation(
        "a reward read a token early",
        "accorda.training.rewarding:ends",
        "torch.tensor(batch.lengths) - 1",
        "torch.tensor(batch.lengths) - 2",
        lambda place: test_rewarding.test_rewards_are_those_of_each_answer_alone("llama", False, place),
    ),
    Mutation(
        "a reward read in the last column",
        "accorda.training.rewarding:ends",
        "torch.tensor(batch.lengths) - 1",
        "batch.input_ids.shape[1] - 1",
        lambda place: test_rewarding.test_rewards_are_those_of_each_answer_alone("llama", False, place),
    ),
    Mutation(
        "DPO of means",
        "accorda.training.preferring:Preferring.judged",
        "self.algorithm.losses(pairs_of(batch, sums,",
        "self.algorithm.losses(pairs_of(batch, sums / torch.tensor(batch.learned),",
        lambda place: test_preferring.test_loss_and_gradient_equal_a_padded_loops("dpo", LoRA(rank=2), PAIRS, place),
    ),
    Mutation(
        "DPO without its reference",
        "accorda.objectives.preference.dpo:dpo",
        "h = chosen - rejected",
        "h = policy_chosen - policy_rejected",
        lambda place: test_dpo.test_golden_numbers(),
    ),
    Mutation(
        "DPO the wrong way round",
        "accorda.objectives.preference.dpo:dpo",
        "h = chosen - rejected",
        "h = rejected - chosen",
        lambda place: test_dpo.test_golden_numbers(),
    ),
    Mutation(
        "DPO without the ends of answers",
        "accorda.data.preferences.renderer:joined",
        ">= max(row.prompt_length, 1)",
        "% (len(row.supervised) - 1) >= max(row.prompt_length, 1)",
        ends_are_learned,
    ),
]


def put(mutation: Mutation, patch: pytest.MonkeyPatch) -> None:
    """The function with the other text."""
    module, _, path = mutation.function.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    function = inspect.unwrap(found)
    source = textwrap.dedent(inspect.getsource(function))
    assert mutation.old in source, f"{mutation.function} no longer says {mutation.old}"
    lines = source.replace(mutation.old, mutation.new)
    made: dict[str, Any] = {}
    exec(compile(lines[lines.index("def ") :], mutation.function, "exec"), function.__globals__, made)
    patch.setattr(function, "__code__", made[function.__name__].__code__)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_a_wrong_line_is_seen(mutation, tmp_path, monkeypatch):
    put(mutation, monkeypatch)
    with pytest.raises(AssertionError):
        mutation.check(tmp_path)


@pytest.mark.parametrize("check", [half_way, ends_are_learned])
def test_the_checks_of_this_file_hold_where_nothing_is_wrong(check, tmp_path):
    check(tmp_path)

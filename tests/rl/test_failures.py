"""What goes wrong in reinforcement learning of language models elsewhere, a test for each fault.

By the numbers of the table of public issues this package was designed against: every test names the fault it would
catch. Two are tested where the reward model is, in tests/stages/test_rl.py: 5, a score that is read beside its place
(`test_a_score_is_read_at_the_end_of_its_own_answer`), and 22, a reward model with another tokenizer than the policy's
(`test_a_judge_with_other_tokens_reads_the_text_anew`).
"""

import math
import re
from pathlib import Path

import pytest
import torch
from tests.rl.enumerable import END, answers, learn, length_target, model_of, token_count, world

from accorda.data.batch import Segment
from accorda.data.prompts.experience import experience, sample
from accorda.methods.checkpointing import enable_checkpointing
from accorda.methods.install import install, trainable
from accorda.methods.registry import read as read_method
from accorda.methods.routing import routing, use
from accorda.objectives.policy import whitening
from accorda.objectives.policy.gae import gae
from accorda.objectives.policy.kl import k1, k2, k3
from accorda.objectives.policy.rewards import token_rewards
from accorda.rl.registry import algorithms
from accorda.training.objective import StepObjective

RLOO = algorithms()["rloo"]
PPO = algorithms()["ppo"]
GRPO = algorithms()["grpo"]
RAGGED = ((END,), (0, 1, END), (2, 3, 3, 1, END))


def gradients(one):
    """Of the next step, by name, before the optimizer moves anything."""
    loop, found = one.loop, {}
    batches = loop.batches.at(loop.step_number)
    loop.model.train()
    if isinstance(loop.objective, StepObjective):
        loop.objective.begin(loop.model, batches)
    total = sum(batch.num_supervised for batch in batches)
    for batch in batches:
        (loop.objective(loop.model, batch) / total).backward()
    found = {name: p.grad.clone() for name, p in loop.parameters().items() if p.grad is not None}
    loop.optimizer.zero_grad()
    return found


def moved(one, seed):
    """The policy elsewhere."""
    with torch.no_grad():
        head = one.model.lm_head.weight
        head.add_(torch.randn(head.shape, generator=torch.Generator().manual_seed(seed)) * 0.2)


def told_by(one, phase=0):
    """The judged and scored answers of a phase."""
    prompts = [one.prompts[number] for number in range(len(one.prompts))]
    groups, figures = one.phases.scored(one.phases.judged(one.phases.answered(prompts, (0, phase))))
    return [answer for group in groups for answer in group.answers], figures


@pytest.mark.parametrize("packed", [False, True])
def test_1_a_policy_that_is_its_reference_is_nowhere_away_from_it(packed):
    """Padding, a temperature or a suppressed end in one pass and not in the other made summed KLs negative."""
    found, figures = told_by(world(RLOO(), episodes=32, prompts=RAGGED, packed=packed))
    assert all(torch.equal(one.sample.told["old_log_probs"], one.sample.told["reference_log_probs"]) for one in found)
    assert figures["kl/seq"] == figures["kl/k3"] == 0


def test_1_the_mean_distance_is_no_less_than_its_error_allows():
    one = world(RLOO(), episodes=512)
    with torch.no_grad():
        one.model.lm_head.weight.add_(torch.randn(5, 32, generator=torch.Generator().manual_seed(1)) * 0.3)
    found, _ = told_by(one)
    sums = torch.stack(
        [(a.sample.told["old_log_probs"] - a.sample.told["reference_log_probs"]).double().sum() for a in found]
    )
    exact = one.log_probs((END,)).exp() @ (one.log_probs((END,)) - one.log_probs((END,), reference=True))
    error = float(sums.std() / math.sqrt(len(sums)))
    assert abs(float(sums.mean() - exact)) < 3 * error
    assert float(exact) > 0.01


def test_2_the_score_stands_on_the_last_sampled_token():
    mask = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]])
    rewards = token_rewards(torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3, 4), mask, kl_coef=0.1)
    assert rewards.tolist() == [[1, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 3]]


@pytest.mark.slow
def test_3_answers_end_as_often_as_is_best():
    """An end that was forced or suppressed in the rollout cannot be learned: here length alone is rewarded."""
    one = world(RLOO(kl_coef=0.5), score=length_target, steps=60, rate=6e-3)
    learn(one, one.steps)
    rewards = torch.tensor([length_target(answer) for answer in answers()], dtype=torch.float64)
    best = torch.softmax(one.log_probs((END,), reference=True) + rewards / 0.5, 0)
    ends = torch.tensor([END in answer for answer in answers()])
    assert float(one.log_probs((END,)).exp()[ends].sum()) == pytest.approx(float(best[ends].sum()), abs=0.03)
    assert one.gap(0.5) < 0.05


def test_4_padding_with_the_end_token_changes_nothing():
    rows = [
        sample(Segment(0, one.prompts[0].input_ids, one.prompts[0].supervised, "", 0), ids)
        for one in [world(RLOO(), episodes=8)]
        for ids in ([END], [0, 1, END], [0, 1, 2, 3, 0])
    ]
    one, other = (experience(rows, packed=False, pad_id=pad) for pad in (END, 1))
    assert torch.equal(one.labels, other.labels)
    assert torch.equal(one.mask, other.mask)
    assert one.learned == other.learned == (1, 3, 5)
    assert int((one.labels == END).sum()) == 2  # the ends that were sampled are learned


@pytest.mark.parametrize("packed", [False, True])
def test_6_rows_beside_longer_ones_are_scored_as_alone(packed):
    one = world(RLOO(), episodes=24, prompts=RAGGED, packed=packed)
    found, _ = told_by(one)
    for answer in found:
        prompt = answer.sample.input_ids[~answer.sample.supervised].tolist()
        place = answers().index(tuple(answer.completion.token_ids))
        exact = float(one.log_probs(prompt)[place])
        assert float(answer.sample.told["old_log_probs"].double().sum()) == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_7_and_12_the_rollout_and_training_agree_token_by_token(temperature):
    """A shift by one position, or a temperature in one of them only, is a difference here."""
    found, figures = told_by(world(RLOO(), episodes=32, temperature=temperature))
    for answer in found:
        drawn = torch.tensor(answer.completion.drawn_log_probs)
        assert torch.allclose(answer.sample.told["old_log_probs"], drawn, atol=1e-5)
    assert figures["rollout_vs_train/abs_logp_diff_max"] < 1e-5


@pytest.mark.parametrize("algorithm", [RLOO(), PPO(num_epochs=1), GRPO()], ids=["rloo", "ppo", "grpo"])
def test_8_dropout_plays_no_part(algorithm):
    one = world(algorithm, model=model_of(0, dropout=0.5), episodes=32)
    told = one.loop.step()
    assert told["policy/ratio_max"] == pytest.approx(1, abs=1e-6)
    assert told.get("kl/seq", 0) == 0
    again, once = told_by(one)[0], told_by(one)[0]
    assert all(
        torch.equal(a.sample.told["old_log_probs"], b.sample.told["old_log_probs"])
        for a, b in zip(again, once, strict=True)
    )


@pytest.mark.parametrize("name", sorted(algorithms()))
def test_9_without_a_learning_rate_nothing_moves(name):
    one = world(algorithms()[name](), episodes=32, rate=0.0, generations=8)
    before = {key: p.detach().clone() for key, p in one.loop.parameters().items()}
    for told in learn(one, 3):
        assert told.get("policy/ratio_max", 1) == pytest.approx(1, abs=1e-5)
        assert told.get("kl/seq", 0) == 0
    assert all(torch.equal(p, before[key]) for key, p in one.loop.parameters().items())


def test_10_values_begin_at_zero_and_learn_to_foretell():
    one = world(PPO(num_epochs=1, value_coef=1.0), episodes=64, rate=1e-2)
    found, _ = told_by(one)
    assert all(torch.equal(a.sample.told["values"], torch.zeros(a.sample.num_sampled)) for a in found)
    explained = [told["value/explained_var"] for told in learn(one, 25)]
    assert explained[0] == pytest.approx(0, abs=1e-6)
    assert max(explained[-5:]) > 0.3


@pytest.mark.slow
def test_11_without_a_price_a_proxy_is_hacked_and_with_one_less_so():
    """The proxy pays three times for what truth takes off."""

    def proxy(answer):
        return answer.count(0) + 3 * answer.count(1)

    def truth(one):
        return float(
            one.log_probs((END,)).exp()
            @ torch.tensor([float(a.count(0) - a.count(1)) for a in answers()], dtype=torch.float64)
        )

    found = {}
    for price in (0.0, 20.0):
        one = world(RLOO(kl_coef=price), score=proxy, steps=40, rate=6e-3, episodes=128)
        start = truth(one)
        learn(one, one.steps)
        found[price] = truth(one) - start
    assert found[0.0] < -1
    assert found[20.0] > -0.5


AGGREGATED = [
    RLOO(kl_coef=0.1),
    algorithms()["reinforce"](),
    PPO(num_epochs=1),
    GRPO(aggregation="dapo", kl_coef=0.1),
    GRPO(aggregation="grpo", kl_coef=0.1, kl_estimator="k2_sequence"),
    GRPO(aggregation="dr_grpo", ratio="sequence"),
    algorithms()["online_dpo"](),
    algorithms()["rejection_sampling"](),
]


@pytest.mark.parametrize("algorithm", AGGREGATED, ids=lambda one: f"{type(one).__name__}")
@pytest.mark.parametrize("packed", [False, True])
def test_13_no_split_into_micro_batches_changes_the_gradient(algorithm, packed):
    found = []
    for micro_tokens in (1 << 20, 60, 1):
        one = world(algorithm, episodes=16, generations=4, prompts=RAGGED, packed=packed, micro_tokens=micro_tokens)
        moved(one, seed=1)  # away from the reference, where its distance has a gradient
        one.phases.at(0)
        moved(one, seed=2)  # away from the policy that sampled, where ratios are not 1
        found.append(gradients(one))
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, gradient in found[0].items():
            assert torch.allclose(other[name], gradient, atol=1e-6), name


def test_13_one_aggregation_depends_on_the_split_and_says_so():
    found = [
        gradients(world(GRPO(aggregation="bnpo"), episodes=16, generations=4, prompts=RAGGED, micro_tokens=tokens))
        for tokens in (1 << 20, 20)
    ]
    assert not all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])


def test_14_the_gradients_of_estimates_are_those_they_are_known_for():
    """By summing over all outcomes: k1 in a loss has none, k2 the reverse KL's, k3 the forward KL's."""
    logits = torch.tensor([0.3, -0.2, 0.5, 0.0], dtype=torch.float64, requires_grad=True)
    reference = torch.log_softmax(torch.tensor([0.0, 0.4, -0.3, 0.1], dtype=torch.float64), 0)
    policy = torch.log_softmax(logits, 0)

    def gradient(value):
        return torch.autograd.grad(value, logits, retain_graph=True)[0]

    reverse = gradient((policy.exp() * (policy - reference)).sum())
    forward = gradient((reference.exp() * (reference - policy)).sum())
    for estimate, meant in ((k1, torch.zeros(4, dtype=torch.float64)), (k2, reverse), (k3, forward)):
        assert torch.allclose(gradient((policy.detach().exp() * estimate(policy - reference)).sum()), meant, atol=1e-12)


def test_15_new_weights_answer_at_once():
    one = world(RLOO(), episodes=16)
    told_by(one)
    with torch.no_grad():
        one.model.lm_head.weight.mul_(-2)
    _, figures = told_by(one)
    assert figures["rollout_vs_train/abs_logp_diff_max"] < 1e-5
    assert abs(figures["kl/seq"]) > 0.1


def test_16_roles_are_restored_whatever_happens():
    model = model_of(0)
    model.requires_grad_(False)
    for name in ("policy", "judge"):
        install(model, read_method({"name": "lora", "rank": 2}), name, active=name == "policy")
    grads = set(trainable(model))
    with pytest.raises(RuntimeError, match="on purpose"), use(model, "judge"):
        raise RuntimeError("on purpose")
    assert routing(model).route.active == ("policy",)
    assert set(trainable(model)) == grads


def test_17_an_answer_is_its_prompts_ids_and_what_was_sampled_with_the_end():
    found, _ = told_by(world(RLOO(), episodes=32, prompts=RAGGED))
    for answer in found:
        ids = answer.sample.input_ids
        assert ids[answer.sample.supervised].tolist() == answer.completion.token_ids
        assert answer.completion.stopped == (answer.completion.token_ids[-1] == END)
        assert END not in answer.completion.token_ids[:-1]
        assert ids[~answer.sample.supervised].tolist() in [list(prompt) for prompt in RAGGED]


def test_18_comparing_ones_own_answers_begins_at_log_2():
    told = world(algorithms()["online_dpo"](), episodes=32).loop.step()
    assert told["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_19_a_loss_of_zero_is_not_a_gradient_of_zero_but_equal_rewards_are():
    told = world(GRPO(aggregation="grpo"), episodes=32).loop.step()
    assert told["loss"] == pytest.approx(0, abs=1e-6)
    assert told["grad_norm"] > 1e-2
    told = world(GRPO(), episodes=32, score=lambda answer: 1.0).loop.step()
    assert told["grad_norm"] == 0
    assert told["reward/equal_groups"] == 1
    assert [sign["sign"] for sign in told["health"] if sign["verdict"] == "alarm"][-1:] == ["spread in groups"]


def test_20_whitening_sees_no_padding():
    values, mask = torch.randn(4, 6), (torch.rand(4, 6) > 0.3).long()
    wider = torch.cat([values, torch.full((4, 5), 9.0)], 1), torch.cat([mask, torch.zeros(4, 5, dtype=torch.long)], 1)
    assert torch.equal(whitening.whiten(*wider)[:, :6], whitening.whiten(values, mask))
    parts = sum(whitening.sums(values[rows], mask[rows]) for rows in (slice(0, 1), slice(1, 4)))
    assert torch.allclose(whitening.whiten(values, mask, parts), whitening.whiten(values, mask))


def test_21_a_phase_is_prompts_times_answers_and_so_many_steps():
    one = world(PPO(num_epochs=3, num_minibatches=2), episodes=48, generations=4)
    rows = [sum(len(batch.learned) for batch in one.phases.at(step)) for step in range(6)]
    assert rows == [24] * 6
    assert one.phases.prompts.num_steps(1) == 6
    assert len(one.phases.rows) == 48
    each = [sorted(row.index for row in one.phases.part(0, update)) for update in range(2)]
    assert sorted(each[0] + each[1]) == sorted(row.index for row in one.phases.rows)


def test_23_whitening_without_a_shift_keeps_the_mean():
    values, mask = torch.tensor([[1.0, 3.0, 8.0]]), torch.ones(1, 3)
    mean, deviation = values.mean(), values.std(correction=0)
    assert torch.allclose(whitening.whiten(values, mask, shift_mean=False), (values - mean) / deviation + mean)


def test_24_values_behind_the_end_say_nothing():
    rewards, mask = torch.tensor([[0.0, 1.0, 0.0, 0.0]]), torch.tensor([[1, 1, 0, 0]])
    values = torch.tensor([[0.5, 0.4, 0.0, 0.0]])
    spoilt = values + torch.tensor([[0.0, 0.0, 7.0, -3.0]])
    assert all(torch.equal(a, b) for a, b in zip(gae(rewards, values, mask), gae(rewards, spoilt, mask), strict=True))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_25_every_token_after_the_prompt_is_one_new_token_of_a_cache(checkpointing):
    one = world(RLOO(), episodes=16)
    if checkpointing:
        enable_checkpointing(one.model)
    widths = []
    handle = one.model.model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    one.model.train()
    told = one.phases.answered([one.prompts[0], one.prompts[1]], (0, 0))
    handle.remove()
    assert one.model.training
    assert widths == [1] * len(widths)
    assert len(widths) == max(len(answer.completion.token_ids) for group in told for answer in group.answers)


def test_permuted_rows_are_the_same_batch():
    one = world(RLOO(), episodes=16, prompts=RAGGED)
    rows = one.phases.make(0)[0]
    found = [gradients_of(one, some) for some in (rows, rows[::-1])]
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])


def gradients_of(one, rows):
    """Of these rows as one step."""
    one.phases.current, one.phases.rows = 0, list(rows)
    return gradients(one)


def test_a_constant_added_to_every_reward_changes_no_group_advantage():
    for algorithm in (RLOO(kl_coef=0.0), GRPO(scale_rewards="none"), GRPO()):
        plain, moved = (
            world(algorithm, episodes=32, score=lambda answer, c=c: token_count(answer) + c) for c in (0.0, 5.0)
        )
        one, other = (found.phases.make(0)[0] for found in (plain, moved))
        for a, b in zip(one, other, strict=True):
            assert torch.allclose(a.told["advantages"], b.told["advantages"], atol=1e-4)


def test_ppo_at_its_first_step_is_reinforce_with_its_advantages():
    ppo, plain = world(PPO(num_epochs=1, value_coef=0.0), episodes=32), world(PPO(num_epochs=1), episodes=32)
    rows = plain.phases.make(0)[0]
    found = gradients(ppo)
    batches = plain.phases.algorithm.micro_batches(plain.phases.prompts, rows)
    total = sum(len(row.told["advantages"]) for row in rows)
    loss = torch.zeros(())
    for batch in batches:
        logits = torch.log_softmax(plain.model(**batch.inputs()).logits, -1)
        positions, labels = batch.targets()
        loss = loss - (logits.flatten(0, 1)[positions, labels] * batch.advantages).sum() / total
    loss.backward()
    named = dict(plain.model.named_parameters())
    for name, gradient in found.items():
        if not name.startswith("value."):
            assert torch.allclose(gradient, named[name].grad, atol=1e-6), name


def test_rewards_that_are_whitened_keep_their_mean():
    """Through PPO: values are zero and there is no distance yet, so what is left is the score on the last token."""
    settings = {"whiten_advantages": False, "gae_lambda": 1.0}
    plain, white = (world(PPO(**settings, whiten_rewards=on), episodes=32) for on in (False, True))
    rows = [found.phases.make(0)[0] for found in (plain, white)]
    before, after = (torch.cat([of_tokens(row.told["returns"]) for row in part]) for part in rows)
    assert after.mean() == pytest.approx(float(before.mean()), abs=1e-5)
    assert after.std(correction=0) == pytest.approx(1.0, abs=1e-4) != pytest.approx(float(before.std(correction=0)))
    expected = (before - before.mean()) / before.std(correction=0) + before.mean()
    assert torch.allclose(after, expected, atol=1e-4)


def of_tokens(returns):
    """Each token's own reward, from the returns of a completion."""
    return returns - torch.cat([returns[1:], torch.zeros(1)])


def test_every_row_of_the_table_has_a_test():
    """The ones above by the number in their names, the rest where the head of this file says."""
    here = [name for name in globals() if name.startswith("test_")]
    numbers = {int(number) for name in here for number in re.findall(r"_(\d+)(?=_)", name.replace("_log_2", ""))}
    pointed = re.findall(r"(\d+), a [^`]*`(test_\w+)`", " ".join((__doc__ or "").split()))
    there = (Path(__file__).parents[1] / "stages" / "test_rl.py").read_text(encoding="utf-8")
    assert all(f"def {name}(" in there for _, name in pointed)
    assert numbers | {int(number) for number, _ in pointed} == set(range(1, 26))

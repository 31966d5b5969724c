"""PPO, as InstructGPT and its forerunners used it on language models.

Schulman et al. (2017), arXiv:1707.06347; Ziegler et al. (2019), arXiv:1909.08593; Ouyang et al. (2022),
arXiv:2203.02155, equation 2; the details after Huang et al., "The N+ Implementation Details of RLHF with PPO" (2024),
arXiv:2403.17031.

    r_t    = -kl_coef k1_t, and the score on the last token
    A, ret = gae(r, V), the advantages whitened over the phase's tokens
    loss   = max(-A ratio, -A clip(ratio)) + value_coef max((V - ret)^2, (clip(V) - ret)^2) / 2       means over tokens
             - ptx_coef log policy(rows of ptx_data)                                                  (PPO-ptx)

The details of that list and of Ziegler et al., chosen:
    sampling   ends at the end token; every completion has a seed of its own; the temperature divides the logits in
               training, too; positions count from a row's first token; what counts is told by position, never by an id
    reward     of prompt and answer, at the answer's last token, its end, which reward models see in training; the KL is
               charged per token beside it; whitened only where asked for, then without a shift of the mean
    answers    render as in sft and reward, with the end token; one that was cut off costs `rollout.missing_eos_penalty`
    values     begin at zero, are zero behind the end, and stand at the positions that the log-probabilities do; their
               loss is clipped
    advantages discount 1; whitened with the biased variance
    steps      nothing is dropped; ratios are held within 20 nats; `training.batch_size` prompts a phase,
               `num_minibatches`, `training.micro_batch_size`; the rate falls by `training.schedule`
    beside     the price of the KL may follow a target; answers are shown at every evaluation
Chosen otherwise: whitened over the phase, not a minibatch; a cut-off answer's reward is lowered, not replaced by -1;
rewards are brought to the first phase's scale (`normalise_rewards`), not by gain and bias found before and after a
reward model is trained, whose head begins as its architecture's do, not at a spread of 1 / sqrt(d + 1); each stage has
a rate of its own. Left out: answers of one length that are cut afterwards, prompts trimmed to whole sentences, a space
in front of every answer, a reward model's accuracy by batch (stage reward tells it with an interval); seeds by device
need none, since a seed is a completion's.

Deviations: the value model is a linear head on the policy's own last hidden states (`value: head`), or has an adapter
of its own beside it (`value: adapter`), which begins fresh also where the policy goes on from an adapter of stage sft;
it does not begin as the reward model, or as a model of its own. Adam's epsilon is the optimizer's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accorda.data.batch import Batch
from accorda.data.prompts.experience import Experience, PromptBatches, Sample, flat, for_values, with_told
from accorda.objectives.policy.adaptive_kl import adapted
from accorda.objectives.policy.aggregation import Step, dapo
from accorda.objectives.policy.gae import gae
from accorda.objectives.policy.rewards import token_rewards
from accorda.objectives.policy.value import clipped_value_loss, explained_variance
from accorda.objectives.policy.whitening import whiten
from accorda.recipe.types import NonNegativeFloat, PositiveFloat, PositiveInt, Probability, Text
from accorda.rl.advantage import judged, log_ratios, stacked
from accorda.rl.contract import ClippedTokens, Memory, Ptx, changed, together
from accorda.rl.rollout import Group
from accorda.rl.settings import RolloutSettings
from accorda.training.policy import VALUE, Value

PRICE, MEAN, SPREAD = "kl_coef", "reward_mean", "reward_std"


@dataclass(frozen=True, kw_only=True)
class PPO(ClippedTokens):
    """Better than a learned value of the state."""

    paper: ClassVar[str] = "arXiv:1707.06347"
    least_generations: ClassVar[int] = 1
    clips: ClassVar[tuple[str, ...]] = ("clip_range", "value_clip_range")

    num_epochs: PositiveInt = 4
    """How often the answers of a phase are learned from."""
    kl_coef: NonNegativeFloat = 0.05
    """What a nat of distance from the reference costs, in units of the reward."""
    kl_target: PositiveFloat | None = None
    """Nats per answer that the price of the KL is steered to; null: the price stays."""
    kl_horizon: PositiveInt = 10_000
    """Answers over which that price may change by a fifth."""
    gae_lambda: Probability = 0.95
    """Lambda of the advantage estimate: 1 takes whole returns, 0 trusts the values after one token."""
    value: Literal["head", "adapter"] = "head"
    """The value model: a head on the policy's hidden states, or one on those of an adapter of its own."""
    value_coef: NonNegativeFloat = 0.1
    """The weight of its loss."""
    value_clip_range: PositiveFloat = 0.2
    """How far a value may go from the one of before the phase until its loss takes the worse of both."""
    whiten_advantages: bool = True
    """Bring the advantages of a phase to mean 0 and variance 1."""
    whiten_rewards: bool = False
    """Bring the rewards of a phase's tokens, the price of the KL among them, to variance 1 and leave their mean."""
    normalise_rewards: bool = False
    """Bring rewards to mean 0 and variance 1, as they are in the first phase."""
    ptx_data: Text | None = None
    """Rows, as stage sft reads them, that are learned beside the answers so that nothing is forgotten (PPO-ptx)."""
    ptx_coef: PositiveFloat = 1.0
    """The weight of their loss, a mean over their tokens; InstructGPT's is 27.8."""
    ptx_rows: PositiveInt = 8
    """How many of them every optimizer step learns."""

    def misfit(self, rollout: RolloutSettings) -> str | None:
        if self.kl_target is not None and not self.kl_coef:
            return (
                "algorithm.kl_target: the price of the KL is steered from where it begins, and algorithm.kl_coef is 0; "
                "raise it, or leave the target out"
            )
        if self.kl_target is None and "kl_horizon" in changed(self):
            return (
                f"algorithm.kl_horizon = {self.kl_horizon}: the price of the KL stays as it is without a target; set "
                "algorithm.kl_target, or leave the horizon out"
            )
        if not self.value_coef:
            return (
                "algorithm.value_coef = 0: the value model would learn nothing, and every advantage is taken from it; "
                "raise it, or use algorithm.name = reinforce, which has none"
            )
        if self.ptx_data is None and (lost := [name for name in ("ptx_coef", "ptx_rows") if name in changed(self)]):
            return (
                f"algorithm.{lost[0]} = {getattr(self, lost[0])}: no rows are learned beside the answers; name them "
                "with algorithm.ptx_data, or leave it out"
            )
        return super().misfit(rollout)

    @property
    def kl_price(self) -> float:
        return self.kl_coef

    @property
    def needs_scores(self) -> bool:
        return True  # values

    @property
    def ptx(self) -> Ptx | None:
        return None if self.ptx_data is None else Ptx(self.ptx_data, self.ptx_coef, self.ptx_rows)

    def value_model(self, model: PreTrainedModel) -> Value:
        return Value(model, VALUE if self.value == "adapter" else None)

    def experience(self, groups: Sequence[Group], memory: Memory) -> list[Sample]:
        found = judged(groups)
        samples = [one for answers in found for one, _ in answers]
        if not samples:
            return []
        scores = self.scores([reward for answers in found for _, reward in answers], memory)
        values, mask = stacked(samples, "values")
        kl = torch.nn.utils.rnn.pad_sequence(log_ratios(samples, self.kl_coef), batch_first=True)
        price = memory.numbers.get(PRICE, self.kl_coef)
        rewards = token_rewards(scores, kl, mask, kl_coef=price)
        rewards = whiten(rewards, mask, shift_mean=False) if self.whiten_rewards else rewards
        advantages, returns = gae(rewards, values, mask, gae_lambda=self.gae_lambda)
        memory.figures = {
            "value/explained_var": float(explained_variance(values, returns, mask)),
            "reward/total": float((scores - price * kl.sum(-1)).mean()),
            "kl_coef": price,
        }
        if self.kl_target is not None:
            nats = float(kl.sum(-1).mean())
            memory.numbers[PRICE] = adapted(
                price, nats, num_sequences=len(samples), target=self.kl_target, horizon=self.kl_horizon
            )
        advantages = whiten(advantages, mask) if self.whiten_advantages else advantages
        numbers = [one.num_sampled for one in samples]
        told = zip(samples, *(flat(x, numbers).split(numbers) for x in (advantages, returns)), strict=True)
        return [with_told(one, advantages=advantage, returns=return_) for one, advantage, return_ in told]

    def scores(self, rewards: Sequence[float], memory: Memory) -> Tensor:
        """The rewards, (B,); in units of the first phase's spread about its mean, where that is asked for."""
        found = torch.tensor(rewards)
        if not self.normalise_rewards:
            return found
        if MEAN not in memory.numbers:
            memory.numbers[MEAN] = float(found.mean())
            memory.numbers[SPREAD] = max(float(found.std(correction=0)), 1e-6)
        return (found - memory.numbers[MEAN]) / memory.numbers[SPREAD]

    def value_loss(self, values: Tensor, batch: Experience, step: Step) -> Tensor:
        old, returns = batch.dense(batch.values), batch.dense(batch.returns)
        losses = clipped_value_loss(values, old, returns, clip_range=self.value_clip_range)
        return self.value_coef * (losses * dapo(batch.mask, step)).sum()

    def micro_batches(self, prompts: PromptBatches, rows: Sequence[Sample]) -> list[Batch]:
        """With a value model of its own, its passes follow the policy's: only one graph is held at a time."""
        made = together(prompts, rows)
        if self.value == "head":
            return list(made)
        return [part for batch in made for part in (batch, for_values(batch))]

"""What the algorithms of stage rl have in common: what a phase's answers teach, and the objective that learns it.

A phase: prompts are answered by the policy as it is, the answers are judged, and `updates` optimizer steps learn from
them. The recipe's section `algorithm` is the algorithm's own fields.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from math import ceil
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accorda.data.batch import Batch
from accorda.data.prompts.experience import Experience, PromptBatches, Sample
from accorda.objectives.policy.aggregation import WEIGHS, Step, dapo
from accorda.objectives.policy.clipped import clipped, is_clipped
from accorda.objectives.policy.ratio import token_ratio
from accorda.recipe.types import PositiveInt, Share
from accorda.rl.rollout import Group
from accorda.rl.settings import RolloutSettings
from accorda.training.loop import Objective
from accorda.training.policy import Policy, Value

NOWHERE = "not at all"
"""Where the distance from the reference comes in, of an algorithm that does not ask for it."""


def changed(settings: Any) -> set[str]:
    """The names of a dataclass's fields that are not what they are by default."""
    return {field.name for field in fields(settings) if getattr(settings, field.name) != field.default}


@dataclass
class Memory:
    """What an algorithm remembers from phase to phase, by name: the price of the KL, the scale of rewards."""

    numbers: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    """What it tells of the phase that was just made."""


@dataclass(frozen=True, kw_only=True)
class Algorithm(ABC):
    """A way of learning from one's own answers."""

    paper: ClassVar[str]
    least_generations: ClassVar[int] = 2
    paired: ClassVar[bool] = False
    """Whether two answers of each prompt are learned from, beside each other."""

    @property
    def updates(self) -> int:
        """Optimizer steps of a phase."""
        return 1

    @property
    def needs_reference(self) -> bool:
        """Whether the model as it was opened is asked, too."""
        return False

    @property
    @abstractmethod
    def kl_placement(self) -> str:
        """Where the distance from the reference comes in, and by which estimate, for people."""

    @property
    @abstractmethod
    def loss_aggregation(self) -> str:
        """What a token, or an answer, weighs in the loss of an update, for people."""

    def answers_of_update(self, num_prompts: int, num_generations: int) -> int:
        """At most how many answers an update learns from."""
        return num_prompts * num_generations

    def misfit(self, rollout: RolloutSettings) -> str | None:
        """Which setting has no effect beside the others, and the way out; None where all have."""
        return None

    @abstractmethod
    def objective(self, model: PreTrainedModel, rollout: RolloutSettings) -> Objective:
        """What the loop minimises."""

    @abstractmethod
    def experience(self, groups: Sequence[Group], memory: Memory) -> list[Any]:
        """What the judged answers of a phase teach: rows to learn."""

    @abstractmethod
    def micro_batches(self, prompts: PromptBatches, rows: Sequence[Any]) -> list[Batch]:
        """Rows of one optimizer step, put together for its forward passes."""


@dataclass(frozen=True)
class Ptx:
    """Rows that PPO-ptx learns beside the answers: where they are, what their loss weighs, how many a step takes."""

    source: str
    coef: float
    rows: int


@dataclass(frozen=True, kw_only=True)
class PolicyAlgorithm(Algorithm):
    """An algorithm that makes sampled tokens likelier or less likely by their advantage."""

    clips: ClassVar[tuple[str, ...]] = ()
    """Its settings that bound how far the updates of a phase may go."""

    num_epochs: PositiveInt = 1
    """How often the answers of a phase are learned from."""
    num_minibatches: PositiveInt = 1
    """Optimizer steps of one such pass; each takes that part of the answers."""

    @property
    def updates(self) -> int:
        return self.num_epochs * self.num_minibatches

    def answers_of_update(self, num_prompts: int, num_generations: int) -> int:
        return ceil(num_prompts * num_generations / self.num_minibatches)

    @property
    def kl_price(self) -> float:
        """The weight of the distance from the reference, zero where it plays no part."""
        return 0.0

    @property
    def needs_reference(self) -> bool:
        return self.kl_price > 0

    @property
    def needs_scores(self) -> bool:
        """Whether answers are scored before they are learned from: for a later update, for a distance, for values.

        A single update without those finds `old_log_probs` on its own way.
        """
        return self.updates > 1 or self.needs_reference

    @property
    def ptx(self) -> Ptx | None:
        """Rows that are learned beside the answers, for an algorithm that has such."""
        return None

    def value_model(self, model: PreTrainedModel) -> Value | None:
        """The value model, for an algorithm that has one."""
        return None

    def misfit(self, rollout: RolloutSettings) -> str | None:
        idle = [name for name in self.clips if name in changed(self)] if self.updates == 1 else []
        if idle:
            return (
                f"algorithm.{idle[0]} = {getattr(self, idle[0])}: with one update a phase the policy is still the one "
                "that sampled, so nothing is clipped; raise algorithm.num_epochs or num_minibatches, or leave it out"
            )
        return None

    def objective(self, model: PreTrainedModel, rollout: RolloutSettings) -> Policy:
        return Policy(
            model,
            self,
            temperature=rollout.temperature,
            max_new_tokens=rollout.max_new_tokens,
            value=self.value_model(model),
            reference=self.needs_reference,
            text_coef=0.0 if self.ptx is None else self.ptx.coef,
        )

    @abstractmethod
    def experience(self, groups: Sequence[Group], memory: Memory) -> list[Sample]:
        """Completions with their advantages (and returns); what `needs_scores` asks for they have been told already."""

    @abstractmethod
    def policy_loss(self, log_probs: Tensor, batch: Experience, step: Step) -> Tensor:
        """A micro-batch's share of the step's loss, a scalar, from log-probabilities (B, T)."""

    def value_loss(self, values: Tensor, batch: Experience, step: Step) -> Tensor:
        """The same of what the value model says, (B, T)."""
        return torch.zeros((), device=values.device)

    def clip_share(self, log_probs: Tensor, batch: Experience) -> Tensor | None:
        """Where clipping leaves no gradient, (B, T)."""
        return None

    def micro_batches(self, prompts: PromptBatches, rows: Sequence[Sample]) -> list[Batch]:
        return list(together(prompts, rows))


@dataclass(frozen=True, kw_only=True)
class ClippedTokens(PolicyAlgorithm):
    """An algorithm with an advantage for every token, the ratio of each clipped, every token weighing the same."""

    clips: ClassVar[tuple[str, ...]] = ("clip_range",)

    clip_range: Share = 0.2
    """How far the ratio of probabilities may go from 1 in the updates of a phase."""

    @property
    def kl_placement(self) -> str:
        return "in the reward of every token (k1)" if self.kl_price else NOWHERE

    @property
    def loss_aggregation(self) -> str:
        return WEIGHS["dapo"]

    def policy_loss(self, log_probs: Tensor, batch: Experience, step: Step) -> Tensor:
        losses = clipped(*self._moved(log_probs, batch), clip_low=self.clip_range, clip_high=self.clip_range)
        return (losses * dapo(batch.mask, step)).sum()

    def clip_share(self, log_probs: Tensor, batch: Experience) -> Tensor:
        return is_clipped(*self._moved(log_probs, batch), clip_low=self.clip_range, clip_high=self.clip_range)

    def _moved(self, log_probs: Tensor, batch: Experience) -> tuple[Tensor, Tensor]:
        return token_ratio(log_probs, batch.dense(batch.old_log_probs)), batch.dense(batch.advantages)


def together(prompts: PromptBatches, rows: Sequence[Sample]) -> list[Experience]:
    """Completions in as few forward passes as the run's micro-batches hold."""
    return [prompts.joined([rows[place] for place in group]) for group in prompts.grouped([len(row) for row in rows])]

"""What the algorithms of preference have in common: what they are given, and what they answer."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Lt
from torch import Tensor

Flipped = Annotated[float, Ge(0), Lt(0.5)]  # a share of labels that are the wrong way round; at a half nothing is said


@dataclass(frozen=True)
class Pairs:
    """N pairs of completions as policy and reference see them.

    Each log-probability is the sum over a completion's tokens, its end-of-turn token among them, in nats, (N,).
    """

    policy_chosen: Tensor
    policy_rejected: Tensor
    chosen_lengths: Tensor
    """Numbers of tokens of the chosen completions, the end-of-turn token among them, (N,)."""
    rejected_lengths: Tensor
    reference_chosen: Tensor | None = None
    """None for an algorithm that has no reference."""
    reference_rejected: Tensor | None = None

    @property
    def log_probs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of the policy for chosen and rejected, then of the reference: the order in which the losses take them.

        Raises:
            ValueError: the pairs bring no reference.
        """
        if self.reference_chosen is None or self.reference_rejected is None:
            raise ValueError("these pairs bring no log-probabilities of a reference")
        return self.policy_chosen, self.policy_rejected, self.reference_chosen, self.reference_rejected

    @property
    def per_token(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `log_probs`, each divided by the number of its completion's tokens."""
        _, _, reference_chosen, reference_rejected = self.log_probs
        return (
            *self.policy_per_token,
            reference_chosen / self.chosen_lengths,
            reference_rejected / self.rejected_lengths,
        )

    @property
    def policy_per_token(self) -> tuple[Tensor, Tensor]:
        """The policy's mean log-probability of a token of chosen and of rejected, (N,) each; needs no reference."""
        return self.policy_chosen / self.chosen_lengths, self.policy_rejected / self.rejected_lengths


def log_ratios(
    policy_chosen: Tensor, policy_rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor
) -> tuple[Tensor, Tensor]:
    """log(policy / reference) of chosen and of rejected, (N,) each."""
    return policy_chosen - reference_chosen, policy_rejected - reference_rejected


def implied_rewards(log_probs: tuple[Tensor, Tensor, Tensor, Tensor], beta: float) -> tuple[Tensor, Tensor]:
    """The rewards that a policy implies, beta log(policy / reference), of chosen and of rejected, (N,) each."""
    chosen, rejected = log_ratios(*log_probs)
    return beta * chosen, beta * rejected


@dataclass(frozen=True, kw_only=True)
class Algorithm(ABC):
    """A way of learning from preferences; its fields are the recipe's section `algorithm`."""

    paper: ClassVar[str]
    needs_reference: ClassVar[bool]
    thumbs: ClassVar[bool] = False
    """Whether it learns from answers by themselves, liked or not."""


@dataclass(frozen=True, kw_only=True)
class PairAlgorithm(Algorithm):
    """An algorithm that learns from pairs: chosen and rejected."""

    @abstractmethod
    def losses(self, pairs: Pairs) -> Tensor:
        """The loss of each pair, (N,)."""

    @abstractmethod
    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """What the policy makes of chosen and rejected, (N,) each: the loss is about their difference."""

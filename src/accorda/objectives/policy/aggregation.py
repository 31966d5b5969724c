"""From losses of tokens to the loss of a step: what each token weighs, by the names the field gives the ways.

    grpo:     1 / (|o_i| B)              mean over sequences of their means: a token of a short sequence weighs more
    bnpo:     1 / (tokens of the micro-batch x micro-batches)      depends on how the step is split
    dapo:     1 / tokens of the step     every token weighs the same
    dr_grpo:  1 / (B max_new_tokens)     as dapo, by a constant: unbiased in length

grpo: arXiv:2402.03300, equation 3. dapo: arXiv:2503.14476, section 3.3. dr_grpo: arXiv:2503.20783. bnpo: TRL's name.

The loss of a micro-batch is the sum of `losses * weights` over it, the step's the sum of those. All counts are the
whole step's, over all micro-batches and devices, taken before the first backward; so, but for bnpo, every split of a
step gives the same gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Step:
    """Counts of one optimizer step, over all its micro-batches and devices."""

    num_sequences: int
    num_tokens: int
    """Tokens that count: the sum of all masks."""
    num_micro_batches: int
    max_new_tokens: int
    """The longest completion that was allowed, not the longest there is."""


def grpo(mask: Tensor, step: Step) -> Tensor:
    """Weights (B, T) of a micro-batch's tokens; a sequence without tokens that count still counts as one."""
    return mask / mask.sum(-1, keepdim=True).clamp(min=1) / step.num_sequences


def bnpo(mask: Tensor, step: Step) -> Tensor:
    """Weights (B, T) of a micro-batch's tokens: every micro-batch weighs the same."""
    return mask / mask.sum().clamp(min=1) / step.num_micro_batches


def dapo(mask: Tensor, step: Step) -> Tensor:
    """Weights (B, T) of a micro-batch's tokens: every token weighs the same."""
    return mask / max(1, step.num_tokens)


def dr_grpo(mask: Tensor, step: Step) -> Tensor:
    """Weights (B, T) of a micro-batch's tokens: every token weighs the same, whatever the lengths."""
    return mask / (step.num_sequences * step.max_new_tokens)


AGGREGATIONS: dict[str, Callable[[Tensor, Step], Tensor]] = {way.__name__: way for way in (grpo, bnpo, dapo, dr_grpo)}

WEIGHS = {
    "grpo": "every answer weighs the same: a token less in a longer one",
    "bnpo": "every forward pass weighs the same, and in it every token",
    "dapo": "every token of an update weighs the same",
    "dr_grpo": "every token weighs 1 / (answers of an update x rollout.max_new_tokens)",
}
"""The same for people."""

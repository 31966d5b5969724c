"""ORPO: supervised tuning and preference in one.

Hong, Lee, Thorne, "ORPO: Monolithic Preference Optimization without Reference Model" (2024), arXiv:2403.07691,
equations 6 and 7.

    p        = log policy(completion) / |completion|, the mean log-probability of a token
    log odds = p - log(1 - exp p)
    loss     = -p(chosen) - odds_ratio_coef log sigmoid(log odds(chosen) - log odds(rejected))

Starts from a base model; there is no reference. The paper's lambda is `odds_ratio_coef`.

Deviations: the likelihood is the completion's alone, without the prompt, and a mean per pair; TRL's is over prompt and
completion, and a mean over all tokens of the batch.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accorda.objectives.preference.contract import PairAlgorithm, Pairs
from accorda.recipe.types import PositiveFloat


def orpo(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    *,
    odds_ratio_coef: float,
) -> Tensor:
    """Loss of each pair (N,) in nats from summed log-probabilities and numbers of tokens, (N,) each."""
    chosen, rejected = policy_chosen / chosen_lengths, policy_rejected / rejected_lengths
    return -chosen - odds_ratio_coef * logsigmoid(log_odds(chosen) - log_odds(rejected))


def log_odds(log_probs: Tensor) -> Tensor:
    """log(p / (1 - p)) from log p, (...,); what rounds to certainty is taken as one rounding below it."""
    below_one = log_probs.clamp(max=-torch.finfo(log_probs.dtype).eps)
    return below_one - torch.log(-torch.expm1(below_one))


@dataclass(frozen=True, kw_only=True)
class ORPO(PairAlgorithm):
    """Learn the chosen completions, and to prefer them, in one stage without a reference."""

    paper: ClassVar[str] = "arXiv:2403.07691"
    needs_reference: ClassVar[bool] = False

    odds_ratio_coef: PositiveFloat = 0.1
    """Weight of the odds ratio beside the likelihood of the chosen completion; the paper's lambda, TRL's beta."""

    def losses(self, pairs: Pairs) -> Tensor:
        return orpo(
            pairs.policy_chosen,
            pairs.policy_rejected,
            pairs.chosen_lengths,
            pairs.rejected_lengths,
            odds_ratio_coef=self.odds_ratio_coef,
        )

    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        chosen, rejected = pairs.policy_per_token
        return log_odds(chosen), log_odds(rejected)

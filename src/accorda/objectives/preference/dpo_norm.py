"""DPO on means over tokens, "length-normalized DPO".

Lambert and others, "Tulu 3" (2024), arXiv:2411.15124, section 5.

    h    = log (policy / reference)(chosen) / |chosen| - log (policy / reference)(rejected) / |rejected|
    loss = -log sigmoid(beta h)

A sum over tokens grows with a completion's length, and with it what the loss gains by length alone; a mean does not.
beta is in another unit than DPO's and larger, 5 in the paper. Where policy and reference are one, the loss is log 2.

Deviations: none.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from accorda.objectives.preference.contract import PairAlgorithm, Pairs, implied_rewards
from accorda.objectives.preference.dpo import dpo
from accorda.recipe.types import PositiveFloat


@dataclass(frozen=True, kw_only=True)
class DPONorm(PairAlgorithm):
    """DPO on means over tokens, so that length alone gains nothing."""

    paper: ClassVar[str] = "arXiv:2411.15124"
    needs_reference: ClassVar[bool] = True

    beta: PositiveFloat = 5.0
    """How near to the reference, per token: the larger, the nearer."""

    def losses(self, pairs: Pairs) -> Tensor:
        return dpo(*pairs.per_token, beta=self.beta)

    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        return implied_rewards(pairs.per_token, self.beta)

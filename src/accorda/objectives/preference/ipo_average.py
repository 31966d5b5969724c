"""IPO on means over tokens, as its authors ran it according to TRL.

Gheshlaghi Azar and others (2023), arXiv:2310.12036.

    loss = (h - 1 / (2 beta))^2,    h = log (policy / reference)(chosen) / |chosen| - the same of rejected

The square of a sum grows with the completions' lengths; of a mean it does not. TRL's loss `ipo` is this one.

Deviations: the paper's equation 17 has sums; `ipo` is that one.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from accorda.objectives.preference.contract import PairAlgorithm, Pairs, implied_rewards
from accorda.objectives.preference.ipo import ipo
from accorda.recipe.types import PositiveFloat


@dataclass(frozen=True, kw_only=True)
class IPOAverage(PairAlgorithm):
    """IPO whose margin is per token."""

    paper: ClassVar[str] = "arXiv:2310.12036"
    needs_reference: ClassVar[bool] = True

    beta: PositiveFloat = 0.1
    """How near to the reference: the margin's target is 1 / (2 beta) nats per token."""

    def losses(self, pairs: Pairs) -> Tensor:
        return ipo(*pairs.per_token, beta=self.beta)

    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        return implied_rewards(pairs.per_token, self.beta)

"""Matthews correlation: how far classes said and meant go together, 0 for guessing whatever the classes' shares.

Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient", 2004. With c rows right of s,

    R = (c s - sum_k said_k meant_k) / sqrt(s^2 - sum_k said_k^2) sqrt(s^2 - sum_k meant_k^2)

and 0 where one class alone was said or meant. Two classes give the coefficient of Matthews, 1975.
"""

from dataclasses import dataclass

import numpy as np

from accorda.evaluation.confusion import Confusion, OfConfusion


@dataclass(frozen=True, kw_only=True)
class Matthews(OfConfusion):
    """Correlation of the classes said and meant, in [-1, 1]."""

    def values(self, totals: np.ndarray) -> dict[str, float]:
        found = Confusion.of(totals)
        number = found.number
        above = found.right.sum() * number - (found.said * found.meant).sum()
        below = (number**2 - (found.said**2).sum()) * (number**2 - (found.meant**2).sum())
        return {"matthews": float(above / np.sqrt(below)) if below > 0 else 0.0}

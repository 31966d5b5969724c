"""Macro F1: the F1 of each class, and their mean, so that a rare class counts as much as a common one.

    F1_k = 2 tp_k / (said_k + meant_k),   f1_macro = mean over the classes that were said or meant

Opitz and Burst, "Macro F1 and Macro F1", 2019, arXiv:1911.03347: this is the mean of F1, not the F1 of means.
"""

from dataclasses import dataclass

import numpy as np

from accorda.evaluation.confusion import Confusion, OfConfusion


@dataclass(frozen=True, kw_only=True)
class F1Macro(OfConfusion):
    """Mean F1 of the classes, in [0, 1]."""

    def values(self, totals: np.ndarray) -> dict[str, float]:
        found = Confusion.of(totals)
        seen = found.said + found.meant
        return {"f1_macro": float((2 * found.right[seen > 0] / seen[seen > 0]).mean())}

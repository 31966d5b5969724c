"""One label per row: cross-entropy of its class, or the squared error of its number.

    classes:  loss = - sum over rows of log softmax(z_b)[y_b]          z (B, K), y (B,)
    number:   loss =   sum over rows of (z_b - y_b)^2                  z (B, 1), y (B,)

In fp32 or wider, whatever the head computes in.
"""

import torch
from torch import Tensor

from accorda.objectives.language_model import log_probs


def label_scores(logits_BK: Tensor, wanted_B: Tensor) -> Tensor:
    """What each row scores, (B,): the log-probability of its class in nats, or minus the squared error of its number.

    Args:
        logits_BK: one column per class, or a single one for a number.
        wanted_B: the numbers of the classes, or the numbers; floating point.
    """
    if logits_BK.shape[1] == 1:
        found = logits_BK[:, 0]
        wide = found if found.dtype == torch.float64 else found.float()
        return -(wide - wanted_B.to(wide.dtype)).square()
    return log_probs(logits_BK, wanted_B.long())

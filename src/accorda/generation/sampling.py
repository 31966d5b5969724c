"""How the next token is chosen: greedily, or drawn at a temperature from the top k or the top p.

The logits are divided by the temperature, then cut to the k largest, then to the smallest set of most probable tokens
whose mass reaches p (Holtzman, Buys, Du, Forbes, Choi, "The Curious Case of Neural Text Degeneration", 2020,
arXiv:1904.09751), in this order, which is that of transformers.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from accorda.objectives.language_model import log_probs

STRETCH = 256  # tokens whose probabilities are summed at once


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of one generation. `temperature` 0 takes the most probable token and leaves the rest unread."""

    max_new_tokens: Annotated[int, Ge(1)] = 128
    temperature: Annotated[float, Ge(0)] = 0.0
    top_k: Annotated[int, Ge(0)] = 0
    """0: all tokens."""
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    seed: Annotated[int, Ge(0)] = 0
    stop_texts: tuple[str, ...] = ()
    """Texts that end a completion and do not belong to it; they need a tokenizer."""

    @property
    def is_plain(self) -> bool:
        """Whether tokens are drawn from the model's own probabilities, or the most probable is taken."""
        return self.temperature == 0 or (self.temperature == 1 and not self.top_k and self.top_p == 1)


def choose(logits_BV: Tensor, sampling: Sampling, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """The next token of every row, (B,), and its log-probability under what it was drawn from, (B,).

    Args:
        logits_BV: the model's logits, fp32.
        sampling: how to choose.
        uniforms: one number in [0, 1) per row, fp64, which alone decides the draw: the token is where it falls in the
            cumulated probabilities, so a row's draw depends on no other row.
    """
    if sampling.temperature == 0:
        likeliest = logits_BV.argmax(-1)
        return likeliest, log_probs(logits_BV, likeliest)
    probabilities_BV = warped(logits_BV, sampling).softmax(-1)
    drawn = _place(probabilities_BV, uniforms)
    return drawn, probabilities_BV.gather(-1, drawn[:, None])[:, 0].log()  # no second pass over all tokens


def warped(logits_BV: Tensor, sampling: Sampling) -> Tensor:
    """The logits that are drawn from: at the temperature, -inf outside the top k and the top p."""
    if sampling.temperature != 1:
        logits_BV = logits_BV / sampling.temperature
    if 0 < sampling.top_k < logits_BV.shape[-1]:
        smallest = logits_BV.topk(sampling.top_k, -1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < smallest, -torch.inf)
    if sampling.top_p < 1:
        ordered, order = logits_BV.sort(dim=-1, descending=True, stable=True)
        probabilities = ordered.softmax(-1)
        beyond = probabilities.cumsum(-1) - probabilities >= sampling.top_p  # the mass of all likelier tokens suffices
        logits_BV = logits_BV.masked_fill(beyond.scatter(-1, order, beyond), -torch.inf)
    return logits_BV


def _place(probabilities_BV: Tensor, uniforms: Tensor) -> Tensor:
    """The first token whose cumulated probability exceeds the number.

    Sums of STRETCH tokens (fp32) are cumulated first (fp64) and then the tokens of one stretch: of a large vocabulary
    a tenth of the time of cumulating all.
    """
    whole = probabilities_BV.shape[-1] // STRETCH * STRETCH
    sums = probabilities_BV[:, :whole].unflatten(-1, (-1, STRETCH)).sum(-1)
    rest = probabilities_BV[:, whole:].sum(-1, keepdim=True)  # the last stretch, which is shorter, or empty
    cumulated = torch.cat((sums, rest), -1).double().cumsum(-1)
    reached = uniforms * cumulated[:, -1]
    place = _first_beyond(cumulated, reached)
    before = torch.where(place > 0, cumulated.gather(1, (place - 1).clamp(min=0)[:, None])[:, 0], 0.0)
    tokens = place[:, None] * STRETCH + torch.arange(STRETCH, device=place.device)
    outside = tokens >= probabilities_BV.shape[-1]
    inside = probabilities_BV.gather(1, tokens.masked_fill(outside, 0)).masked_fill(outside, 0.0)
    return place * STRETCH + _first_beyond(inside.double().cumsum(-1), reached - before)


def _first_beyond(cumulated: Tensor, numbers: Tensor) -> Tensor:
    """Of each row of rising numbers (B, N) the first beyond the row's own; rounding never leaves the last rise."""
    last = torch.searchsorted(cumulated, cumulated[:, -1:].contiguous())
    return torch.searchsorted(cumulated, numbers[:, None], right=True).minimum(last).squeeze(-1)

"""One batch of prompts under generation: a prefill, then one token per row and step through the key/value cache.

Prompts of different lengths stand right-padded in one prefill. Every forward gets a mask over all cached positions and
the position of every token within its own row, so a row never sees the padding of another, whatever positions the
architecture uses (rotary, learned, alibi) and whatever a soft prompt puts in front. Left padding would push a soft
prompt away from its text. Rows that have ended leave the batch and the cache.

Only a sliding window counts positions in the cache, padding included; `fits_window` says when it cannot matter.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from accorda.generation.sampling import Sampling, choose


@dataclass(frozen=True)
class Token:
    """One generated token of one row."""

    row: int
    token_id: int
    log_prob: float
    """Under the model as it is: without temperature, top k and top p."""


class Decoding:
    """A batch of prompts and what has been generated so far.

    The model must be in eval mode. A row ends with the token in `stop_ids`, after `max_new_tokens`, or when it fills
    `limit` positions.
    """

    def __init__(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        stop_ids: frozenset[int] = frozenset(),
        seeds: Sequence[tuple[int, ...]] = (),
        limit: int | None = None,
    ):
        self.model = model
        self.sampling = sampling
        self.stop_ids = stop_ids
        self.rows = list(range(len(prompts)))
        """The rows still running, in the order of the batch."""
        self.stopped: set[int] = set()
        """The rows that ended with a stop token."""
        self._lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
        self._ids = _right_padded(prompts).to(model.device)
        self._mask = (torch.arange(self._ids.shape[1], device=model.device) < self._lengths[:, None]).long()
        self._room = [_room(len(prompt), sampling.max_new_tokens, limit) for prompt in prompts]
        self._draws = [np.random.default_rng(seed) for seed in seeds or [(sampling.seed, row) for row in self.rows]]
        self._cache: Any = DynamicCache(config=model.config)
        self._prefilled = False
        self._leave([row for row, room in enumerate(self._room) if room > 0])

    @torch.no_grad()
    def step(self) -> list[Token]:
        """One more token for every running row; empty when none is left."""
        if not self.rows:
            return []
        logits_BV = (self._decode() if self._prefilled else self._prefill()).float()
        uniforms = torch.tensor([self._draws[row].random() for row in self.rows], dtype=torch.float64)
        chosen = choose(logits_BV, self.sampling, uniforms.to(logits_BV.device))
        log_probs = logits_BV.log_softmax(-1).gather(1, chosen[:, None]).squeeze(1)
        tokens = [Token(*of) for of in zip(self.rows, chosen.tolist(), log_probs.tolist(), strict=True)]
        self._ids, self._lengths = chosen[:, None], self._lengths + 1
        self._mask = torch.cat((self._mask, self._mask.new_ones(len(tokens), 1)), 1)
        for token in tokens:
            self._room[token.row] -= 1
        self.stop(token.row for token in tokens if token.token_id in self.stop_ids)
        return tokens

    def _prefill(self) -> Tensor:
        """The logits (B, V) behind every prompt's last token; no others are formed."""
        positions = torch.arange(self._ids.shape[1], device=self._ids.device).expand_as(self._ids)
        last, place = (self._lengths - 1).unique(return_inverse=True)
        logits = self._forward(positions, logits_to_keep=last)
        self._prefilled = True
        return logits[torch.arange(len(place), device=place.device), place]

    def _decode(self) -> Tensor:
        """The logits (B, V) behind every row's newest token."""
        return self._forward((self._lengths - 1)[:, None])[:, -1]

    def _forward(self, positions: Tensor, **more: Any) -> Tensor:
        return self.model(
            input_ids=self._ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            **more,
        ).logits

    def stop(self, rows: Iterable[int]) -> None:
        """End these rows as if they had written a stop token."""
        self.stopped.update(rows)
        ended = {row for row in self.rows if row in self.stopped or self._room[row] == 0}
        self._leave([place for place, row in enumerate(self.rows) if row not in ended])

    def _leave(self, kept: list[int]) -> None:
        """Keep these places of the batch."""
        if len(kept) == len(self.rows):
            return
        places = torch.tensor(kept, dtype=torch.long, device=self._ids.device)
        self.rows = [self.rows[place] for place in kept]
        self._ids, self._lengths, self._mask = self._ids[places], self._lengths[places], self._mask[places]
        if self._prefilled and kept:
            self._cache.batch_select_indices(places)


def fits_window(model: Any, num_positions: int) -> bool:
    """Whether no layer's sliding window is shorter than this many cached positions."""
    windows = [getattr(layer, "sliding_window", None) for layer in DynamicCache(config=model.config).layers]
    return all(window is None or num_positions <= window for window in windows)


def _right_padded(prompts: Sequence[Sequence[int]]) -> Tensor:
    """Prompts (B, T) with zeros behind; the mask, never the id, says what is padding."""
    rows = [torch.tensor(list(prompt), dtype=torch.long) for prompt in prompts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def _room(prompt_length: int, max_new_tokens: int, limit: int | None) -> int:
    """How many tokens a prompt of this length may still get."""
    return max_new_tokens if limit is None else max(0, min(max_new_tokens, limit - prompt_length))

"""One batch of prompts under generation: a prefill, then one token per row and step through the key/value cache.

Prompts of different lengths stand right-padded in one prefill. Every forward gets a mask over all cached positions and
the position of every token within its own row, so a row never sees the padding of another, whatever positions the
architecture uses (rotary, learned, alibi) and whatever a soft prompt puts in front. Left padding would push a soft
prompt away from its text. Only a sliding window counts positions in the cache, padding included; `past.fits_window`
says when that cannot matter.

Several samples of a prompt share its prefill: the cache is repeated behind it. Rows that have ended leave the batch and
the cache. Where each row has its own adapter they stay, unread: a soft prompt
widens every row to the longest prompt of the batch, which must not change in between.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from accorda.generation.cache import buffered
from accorda.generation.past import Past
from accorda.generation.sampling import Sampling, choose
from accorda.methods.backbone import cached_in_front
from accorda.methods.routing import use
from accorda.models.heads import last_hidden, logits
from accorda.objectives.language_model import log_probs


@dataclass(frozen=True)
class Token:
    """One generated token of one row."""

    row: int
    token_id: int
    log_prob: float
    """Under the model as it is: without temperature, top k and top p."""
    drawn_log_prob: float
    """Under what it was drawn from: at the temperature, among the top k and the top p; of a greedy token `log_prob`."""


class Decoding:
    """A batch of prompts and what has been generated so far.

    The model must be in eval mode. A row ends with a token of `stop_ids`, after `max_new_tokens`, or when prompt and
    completion fill `limit` positions.

    Rows are samples: where each prompt gets n of them, sample s of prompt p is row p n + s.

    Args:
        model: a decoder with its head.
        prompts: token ids of each prompt, none empty.
        sampling: how tokens are chosen; its seed is read only where `seeds` is not given.
        stop_ids: ids that end a row.
        seeds: what the random numbers of each row are made from, as many per prompt as it gets samples; default: one,
            from (seed, row).
        limit: positions a row may fill.
        adapters: the adapter of each prompt or None, instead of those that act now.
        past: for a single row: what was read before, and what of it this row begins with is not read again.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        stop_ids: frozenset[int] = frozenset(),
        seeds: Sequence[tuple[int, ...]] | None = None,
        limit: int | None = None,
        adapters: Sequence[str | None] | None = None,
        past: Past | None = None,
    ):
        self.model = model
        self.sampling = sampling
        self.stop_ids = stop_ids
        self.stopped: set[int] = set()
        """The rows that ended with a stop token or text."""
        self._adapters = adapters
        seeds = seeds or [(sampling.seed, row) for row in range(len(prompts))]
        self._num_samples = num_samples = len(seeds) // max(1, len(prompts))
        room = [_room(self._taken(prompt), sampling.max_new_tokens, limit) for prompt in prompts]
        self._room = [most for most in room for _ in range(num_samples)]
        read = [place for place, most in enumerate(room) if most > 0 or adapters]
        self._batch = [place * num_samples + sample for place in read for sample in range(num_samples)]
        self._draws = [np.random.default_rng(seed) for seed in seeds]
        ids = _right_padded([prompts[place] for place in read]).to(model.device)
        self._lengths = torch.tensor([len(prompts[place]) for place in read], device=model.device)
        self._mask = (torch.arange(ids.shape[1], device=model.device) < self._lengths[:, None]).long()
        self._past = past if self._batch else None
        self._prefilled, self._held = False, 0
        self._begin(ids, prompts)

    def _taken(self, prompt: Sequence[int]) -> int:
        """The positions that a completion no longer finds free."""
        return len(prompt)

    def _begin(self, ids: Tensor, prompts: Sequence[Sequence[int]]) -> None:
        """A cache, and what of the prompts (B, T) it does not yet hold."""
        if self._past:
            self._cache, self._held = self._past.begin(self.model, prompts[0])
        else:
            with self._routed():
                most = cached_in_front(self.model) + ids.shape[1] + max(self._room, default=0)
            self._cache = buffered(self.model.config, most)
        self._ids = ids[:, self._held :]

    @property
    def rows(self) -> list[int]:
        """The rows still running."""
        return [row for row in self._batch if row not in self.stopped and self._room[row] > 0]

    @torch.no_grad()
    def step(self) -> list[Token]:
        """One more token for every running row; empty when none is left."""
        rows = self.rows
        if not rows:
            return []
        with self._routed():
            logits_BV = (self._decode() if self._prefilled else self._fan_out(self._prefill())).float()
        if self._past:
            self._past.ids += self._ids[0].tolist()
        places = torch.tensor([self._batch.index(row) for row in rows], device=logits_BV.device)
        tokens = self._choose(rows, logits_BV if len(rows) == len(logits_BV) else logits_BV[places])
        self._append(places, tokens)
        for token in tokens:
            self._room[token.row] -= 1
        self.stop(token.row for token in tokens if token.token_id in self.stop_ids)
        return tokens

    def stop(self, rows: Iterable[int]) -> None:
        """End these rows, as a stop token does."""
        self.stopped.update(rows)
        kept = [self._batch.index(row) for row in self.rows]
        if self._adapters or len(kept) == len(self._batch):
            return
        places = torch.tensor(kept, dtype=torch.long, device=self._ids.device)
        self._batch = self.rows
        self._ids, self._lengths, self._mask = self._ids[places], self._lengths[places], self._mask[places]
        if kept:
            self._keep(places)

    def _fan_out(self, logits_PV: Tensor) -> Tensor:
        """The prompts' logits and everything behind them once per sample, (B, V)."""
        if self._num_samples == 1:
            return logits_PV
        self._ids, self._lengths, self._mask = (
            tensor.repeat_interleave(self._num_samples, 0) for tensor in (self._ids, self._lengths, self._mask)
        )
        self._repeat(self._num_samples)
        return logits_PV.repeat_interleave(self._num_samples, 0)

    def _repeat(self, times: int) -> None:
        """Let every row of the cache stand so many times, one behind the other."""
        self._cache.batch_repeat_interleave(times)

    def _keep(self, places: Tensor) -> None:
        """Let the rows at all other places leave the cache."""
        self._cache.batch_select_indices(places)

    def _choose(self, rows: list[int], logits_RV: Tensor) -> list[Token]:
        """A token for each of these rows, with its log-probability."""
        uniforms = torch.tensor([self._draws[row].random() for row in rows], dtype=torch.float64)
        chosen, drawn = choose(logits_RV, self.sampling, uniforms.to(logits_RV.device))
        own = drawn if self.sampling.is_plain else log_probs(logits_RV, chosen)
        return [Token(*of) for of in zip(rows, chosen.tolist(), own.tolist(), drawn.tolist(), strict=True)]

    def _append(self, places: Tensor, tokens: list[Token]) -> None:
        """Make the new tokens the next inputs; an ended row that stayed repeats its last position, unseen."""
        self._ids = self._ids.new_zeros(len(self._batch), 1)
        self._ids[places, 0] = torch.tensor([token.token_id for token in tokens], device=self._ids.device)
        self._lengths = self._lengths.index_add(0, places, torch.ones_like(places))
        self._mask = torch.cat((self._mask, self._mask.new_ones(len(self._batch), 1)), 1)

    def _prefill(self) -> Tensor:
        """The logits (B, V) behind every prompt's last token; no others are formed."""
        whole = torch.arange(self._mask.shape[1], device=self._ids.device)
        positions = whole[self._held :].expand_as(self._ids)
        hidden_BTD = last_hidden(self.model, **self._inputs(positions))
        self._prefilled = True
        ends = torch.arange(len(self._lengths), device=hidden_BTD.device), self._lengths - 1 - self._held
        return logits(self.model, hidden_BTD[ends][:, None])[:, 0]

    def _decode(self) -> Tensor:
        """The logits (B, V) behind every row's newest token."""
        return self.model(**self._inputs((self._lengths - 1)[:, None])).logits[:, -1]

    def _inputs(self, positions: Tensor) -> dict[str, Any]:
        return {
            "input_ids": self._ids,
            "attention_mask": self._mask,
            "position_ids": positions,
            "past_key_values": self._cache,
            "use_cache": True,
        }

    @contextmanager
    def _routed(self) -> Iterator[None]:
        """Each row under its own adapter, where that was asked for."""
        if self._adapters is None:
            yield
            return
        each = self._num_samples if self._prefilled else 1
        with use(self.model, rows=[adapter for adapter in self._adapters for _ in range(each)]):
            yield


def _right_padded(prompts: Sequence[Sequence[int]]) -> Tensor:
    """Prompts (B, T) with zeros behind; the mask, never the id, says what is padding."""
    rows = [torch.tensor(list(prompt), dtype=torch.long) for prompt in prompts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True) if rows else torch.zeros(0, 0, dtype=torch.long)


def _room(taken: int, max_new_tokens: int, limit: int | None) -> int:
    """How many tokens may follow so many."""
    return max_new_tokens if limit is None else max(0, min(max_new_tokens, limit - taken))

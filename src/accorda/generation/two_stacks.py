"""A batch of prompts under generation by an encoder-decoder: the encoder reads them once, then the decoder writes.

Prompts of different lengths stand right-padded in the encoder, under a mask that also keeps the decoder from the
padding. In the decoder every row begins with the start token and has as many tokens as the others, so nothing is padded
there. An id that the model's settings force as the first one is taken whatever the logits say, as transformers does;
its log-probability is the model's own. The end that transformers forces at the longest length is not: that an answer
was cut is told.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from accorda.generation.decoding import Decoding, Token
from accorda.models.decoder_start import forced_first, named_start
from accorda.models.heads import last_hidden, logits


class TwoStackDecoding(Decoding):
    """`Decoding` where prompts stand in the encoder; `limit` bounds an answer with its start token, not the prompt."""

    def _taken(self, prompt: Sequence[int]) -> int:
        return 1

    def _begin(self, ids: Tensor, prompts: Sequence[Sequence[int]]) -> None:
        self._read, self._past = (
            ids,
            None,
        )  # nothing that was read before is of use: every token is read in both directions
        self._ids = torch.full((len(ids), 1), named_start(self.model), device=ids.device)
        self._cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self._states: Tensor | None = None

    def _keep(self, places: Tensor) -> None:
        super()._keep(places)
        if self._states is not None:
            self._states = self._states[places]

    def _repeat(self, times: int) -> None:
        super()._repeat(times)
        if self._states is not None:
            self._states = self._states.repeat_interleave(times, 0)

    def _choose(self, rows: list[int], logits_RV: Tensor) -> list[Token]:
        forced = forced_first(self.model) if self._cache.get_seq_length() == 1 else None
        if forced is None:
            return super()._choose(rows, logits_RV)
        log_probs = logits_RV.log_softmax(-1)[:, forced].tolist()
        return [Token(row, forced, log_prob, 0.0) for row, log_prob in zip(rows, log_probs, strict=True)]

    def _append(self, places: Tensor, tokens: list[Token]) -> None:
        self._ids = self._ids.new_zeros(len(self._batch), 1)
        self._ids[places, 0] = torch.tensor([token.token_id for token in tokens], device=self._ids.device)

    def _prefill(self) -> Tensor:
        self._prefilled = True
        encoder: Any = self.model.get_encoder()
        self._states = encoder(input_ids=self._read, attention_mask=self._mask).last_hidden_state
        return self._decode()

    def _decode(self) -> Tensor:
        assert self._states is not None
        hidden_BTD = last_hidden(
            self.model,
            encoder_outputs=BaseModelOutput(last_hidden_state=cast(Any, self._states)),
            attention_mask=self._mask,
            decoder_input_ids=self._ids,
            past_key_values=self._cache,
            use_cache=True,
        )
        return logits(self.model, hidden_BTD)[:, -1]

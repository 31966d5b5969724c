"""How answers are written, on shapes: the prefill of a batch of prompts and the last token behind it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from accorda.models.heads import last_hidden, logits
from accorda.planning.ledger import Ledger

CACHE = "key/value cache"


@dataclass
class Answering:
    """A model that answers, the ledger that looks on, and what tensors are by number."""

    model: PreTrainedModel
    ledger: Ledger
    kinds: dict[int, str]

    @torch.no_grad()
    def answer(self, rows: int, prompt: int, new: int) -> None:
        """The prefill of a batch of prompts, and the last token of its answers."""
        if self.model.config.is_encoder_decoder:
            self._write(rows, prompt, new)
            return
        cache = DynamicCache(config=self.model.config)
        self._continue(rows, prompt, 0, cache)
        self._enter(cache)
        del cache
        cache = DynamicCache(config=self.model.config)
        with self.ledger.looking_away():
            self._continue(rows, prompt + new - 1, 0, cache)
        self._enter(cache)
        self._continue(rows, 1, prompt + new - 1, cache)
        self._enter(cache)

    def _continue(self, rows: int, length: int, before: int, cache: DynamicCache) -> None:
        ids = torch.zeros(rows, length, dtype=torch.long)
        mask = torch.ones(rows, before + length, dtype=torch.long)
        positions = torch.arange(before, before + length).expand(rows, length)
        hidden = last_hidden(
            self.model,
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        logits(self.model, hidden[:, -1:]).float().log_softmax(-1)

    def _write(self, rows: int, prompt: int, new: int) -> None:
        """The encoder reads the prompts; the decoder's first token and its last."""
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        ids = torch.zeros(rows, prompt, dtype=torch.long)
        read = self.model.get_encoder()(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state

        def write(number: int) -> None:
            hidden = last_hidden(
                self.model,
                encoder_outputs=BaseModelOutput(last_hidden_state=read),
                attention_mask=torch.ones_like(ids),
                decoder_input_ids=torch.zeros(rows, number, dtype=torch.long),
                past_key_values=cache,
                use_cache=True,
            )
            logits(self.model, hidden[:, -1:]).float().log_softmax(-1)
            self._enter(cache.self_attention_cache)
            self._enter(cache.cross_attention_cache)

        write(1)
        with self.ledger.looking_away():
            write(max(1, new - 2))
        write(1)

    def _enter(self, cache: Cache) -> None:
        """Keys and values, by number."""
        for layer in cache.layers:
            for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None)):
                if isinstance(tensor, Tensor):
                    self.kinds[self.ledger.note(tensor)] = CACHE

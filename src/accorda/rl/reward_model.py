"""A trained reward model as judge: a run of stage reward, on the policy's own base where it can be."""

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from accorda.data.batch import Segment
from accorda.data.example import Example, Message, RowError
from accorda.data.preferences.batch import PreferenceBatch, compared, preference_batch
from accorda.data.preferences.renderer import PreferenceRenderer
from accorda.data.renderer import Renderer
from accorda.generation.sample import context_length, evaluating
from accorda.methods.backbone import positions_in_front
from accorda.models.fingerprint import digest
from accorda.models.heads import new_heads
from accorda.rl.reward import Reward, Said
from accorda.training.rewarding import rewards

logger = logging.getLogger(__name__)
TOKENS = 4096  # of one forward pass, padding included


class RewardModel(Reward):
    """One number per answer.

    Where policy and reward model have one tokenizer the sampled ids themselves are read; otherwise their text is
    encoded anew. An answer that was cut off gets the token that ends one: a reward model never saw answers without. It
    takes the place of the last token where the model has no position more.

    Args:
        model: with its head; a shell over the policy's backbone, or a model of its own.
        renderer: its own.
        policy: the policy's renderer.
        acting: makes the adapters of the reward model act.
        frozen: its tensors beside the base, which nothing may change.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        renderer: PreferenceRenderer,
        policy: Renderer,
        acting: Callable[[], AbstractContextManager[object]],
        frozen: dict[str, Tensor],
    ) -> None:
        self.model, self.renderer, self.acting = model, renderer, acting
        self.same_tokens = renderer.tokens.digest == policy.tokens.digest
        self.stops, self.positions = frozenset(renderer.stop_ids), context_length(model)
        if self.positions is not None:
            with acting():
                self.positions -= positions_in_front(model)
        eos = renderer.tokens.eos[1]
        ending = sorted(self.stops - {eos}) if renderer.kind == "messages" else []
        self.closing = ending[0] if ending else eos
        self.frozen = frozen | {
            f"{head}.{leaf}": parameter
            for head, module in new_heads(model).items()
            for leaf, parameter in module.named_parameters()
        }

    @property
    def identity(self) -> str:
        return sha256(b"".join(map(digest, self.frozen.values()))).hexdigest()

    @torch.no_grad()
    def judge(self, answers: Sequence[Said]) -> list[float]:
        found, self.trouble = [math.nan] * len(answers), ""
        rows = {place: row for place, answer in enumerate(answers) if (row := self.row(answer)) is not None}
        with evaluating(self.model), self.acting():
            for places in grouped({place: len(row) for place, row in rows.items()}):
                batch = preference_batch([compared([rows[place]], (0,)) for place in places], packed=False, pad_id=0)
                batch = batch.to(self.model.device)
                assert isinstance(batch, PreferenceBatch)
                for place, value in zip(places, rewards(self.model, batch).tolist(), strict=True):
                    found[place] = value
        for place, answer in enumerate(answers):
            if place in rows and not math.isfinite(found[place]):
                logger.warning("reward model: %s: gave %r, which is no finite number", answer.place(), found[place])
                self.trouble = self.trouble or "no finite number"
                found[place] = math.nan
        return found

    def row(self, answer: Said) -> Segment | None:
        """The answer behind its prompt, as the reward model reads it; None, and a line in the log, where it cannot."""
        if self.same_tokens:
            ids = answer.sample.input_ids
            if int(ids[-1]) not in self.stops:
                full = len(ids) == self.positions
                ids = np.append(ids[:-1] if full else ids, np.int32(self.closing))
        else:
            (made,) = self.renderer.render_many([example_of(answer)])
            if isinstance(made, RowError):
                logger.warning("reward model: %s: %s", answer.place(), made)
                self.trouble = self.trouble or str(made)
                return None
            ids = made.input_ids
        if self.positions is not None and len(ids) > self.positions:
            why = f"{len(ids)} tokens with its prompt, and the reward model reads {self.positions}"
            logger.warning("reward model: %s: %s", answer.place(), why)
            self.trouble = self.trouble or why
            return None
        learned = np.arange(len(ids)) == len(ids) - 1
        return Segment(answer.sample.index, ids, learned, answer.sample.file, answer.sample.line)


def example_of(answer: Said) -> Example:
    """Prompt and answer as a row of their own."""
    if isinstance(answer.prompt, str):
        return Example(prompt=answer.prompt, completion=answer.completion)
    turns = [Message(role=turn["role"], content=turn["content"]) for turn in answer.prompt]
    return Example(messages=(*turns, Message(role="assistant", content=answer.completion, train=True)))


def grouped(lengths: dict[int, int]) -> list[list[int]]:
    """Rows of similar length in rectangles of at most so many tokens; a longer row goes alone."""
    groups: list[list[int]] = []
    for place in sorted(lengths, key=lambda place: (-lengths[place], place)):
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= TOKENS:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups

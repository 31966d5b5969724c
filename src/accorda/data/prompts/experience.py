"""Completions that a policy sampled, put together for one forward pass: each behind its prompt.

Beside every sampled token stands what was said of it when it was sampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accorda.data.batch import Batch, Segment, pack_batch, pad_batch
from accorda.data.packing import best_fit_decreasing
from accorda.data.preferences.batch import PreferenceSegment, compared, preference_batch
from accorda.data.sampler import Batches, Segments, padded_groups

TOLD = ("drawn_log_probs", "old_log_probs", "reference_log_probs", "advantages", "returns", "values")
"""What is said of every sampled token; see `Experience`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Sample(Segment):
    """One completion behind its prompt: the ids that were sampled are those supervised.

    `told` holds numbers per sampled token, (n,) each and fp32, by the names of `TOLD`; what is missing is zero.
    """

    told: dict[str, Tensor] = field(default_factory=dict)

    @property
    def num_sampled(self) -> int:
        """Tokens of the completion, the one that ends it among them."""
        return int(np.count_nonzero(self.supervised))


def sample(prompt: Segment, ids: Sequence[int], **told: Tensor) -> Sample:
    """These ids behind a prompt, and what is told of each."""
    input_ids = np.concatenate([prompt.input_ids, np.asarray(ids, np.int32)])
    learned = np.arange(len(input_ids)) >= len(prompt)
    return Sample(prompt.index, input_ids, learned, prompt.file, prompt.line, told=told)


@dataclass(frozen=True, eq=False, kw_only=True)
class Experience(Batch):
    """What one forward pass sees. `num_supervised` counts sampled tokens, N of them in the order of `targets()`.

    learned: how many each completion has, (B,) numbers.
    drawn_log_probs: in nats under what drew them, as the rollout said, (N,).
    old_log_probs, reference_log_probs: under the policy before it learns from them, at the temperature, and under the
        reference, (N,).
    advantages, returns, values: (N,), the last two only where a value model is learned.
    fresh: nobody told `old_log_probs`, as this is the first step that learns from the rows: the policy that learns is
        still the one they are of.
    value_only: the pass is the value model's own.
    """

    learned: tuple[int, ...]
    drawn_log_probs: Tensor
    old_log_probs: Tensor
    reference_log_probs: Tensor
    advantages: Tensor
    returns: Tensor
    values: Tensor
    fresh: bool = False
    value_only: bool = False

    def dense(self, values_N: Tensor) -> Tensor:
        """Numbers per sampled token as (B, T), zero behind the end of a completion."""
        return dense(values_N, self.learned)

    @property
    def mask(self) -> Tensor:
        """1 on sampled tokens, (B, T)."""
        return self.dense(torch.ones_like(self.old_log_probs))


def dense(values_N: Tensor, learned: Sequence[int]) -> Tensor:
    """Stretches of `learned` values each as rows of (B, T), zero behind each."""
    return torch.nn.utils.rnn.pad_sequence(list(values_N.split(list(learned))), batch_first=True)


def flat(values_BT: Tensor, learned: Sequence[int]) -> Tensor:
    """The inverse of `dense`, (N,)."""
    return torch.cat([row[:number] for row, number in zip(values_BT, learned, strict=True)])


def experience(samples: Sequence[Sample], *, packed: bool, pad_id: int) -> Experience:
    """Completions in one forward pass, end to end or side by side."""
    plain = pack_batch(samples) if packed else pad_batch(samples, pad_id)
    learned = tuple(one.num_sampled for one in samples)
    content: dict[str, Any] = vars(plain) | {
        name: torch.cat(
            [one.told[name] if name in one.told else torch.zeros(n) for one, n in zip(samples, learned, strict=True)]
        )
        for name in TOLD
    }
    fresh = all("old_log_probs" not in one.told for one in samples)
    return Experience(**content, learned=learned, fresh=fresh)


def for_values(batch: Experience) -> Experience:
    """The same rows for a pass of the value model alone; they count once."""
    return replace(batch, value_only=True, num_supervised=0, num_tokens=0)


class PromptBatches(Batches):
    """The prompts of every optimizer step; `batch_size` counts prompts, each of which gets `num_generations` answers.

    Several steps may learn from the same prompts' answers: `updates` of them. `paired`: of a prompt's answers two are
    learned from, beside each other. What `batch` makes is of the shapes of a
    micro-batch to learn from: prompts with answers of `max_new_tokens` that nobody sampled.
    """

    def __init__(
        self,
        dataset: Segments,
        *,
        num_generations: int,
        max_new_tokens: int,
        updates: int = 1,
        paired: bool = False,
        **settings: Any,
    ):
        super().__init__(dataset, **settings)
        self.paired = paired
        self.num_generations, self.max_new_tokens, self.updates = num_generations, max_new_tokens, updates

    @property
    def phases_per_epoch(self) -> int:
        """How often prompts are answered in one pass over them."""
        return super().steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        return super().steps_per_epoch * self.updates

    def rows(self, step: int) -> np.ndarray:
        """The prompts that step `step` learns from the answers to."""
        phase = step // self.updates
        epoch, within = divmod(phase, self.phases_per_epoch)
        order = self.order(epoch)
        return order[within * self.batch_size : (within + 1) * self.batch_size]

    def groups(self, step: int) -> list[np.ndarray]:
        """Prompts of each micro-batch, one for each of its answers, or each of its pairs."""
        rows = np.repeat(self.rows(step), 1 if self.paired else self.num_generations)
        return [rows[group] for group in self.grouped(self._lengths(rows).tolist())]

    def grouped(self, lengths: Sequence[int]) -> list[list[int]]:
        """Which rows of these lengths share a forward pass."""
        if self.packed:
            return best_fit_decreasing(list(lengths), self.micro_tokens)
        return padded_groups([(0, length) for length in lengths], self.micro_tokens)

    def positions(self, rows: np.ndarray) -> int:
        lengths = self._lengths(rows)
        return int(lengths.sum() if self.packed else len(rows) * lengths.max())

    def batch(self, rows: np.ndarray) -> Batch:
        return self.filled([self.dataset[int(row)] for row in rows])

    def filled(self, segments: Sequence[Segment]) -> Batch:
        """Prompts with answers as long as they may be, which nobody sampled."""
        answers = [sample(segment, [self.pad_id] * self.max_new_tokens) for segment in segments]
        return self.pairs([compared([one, one], (0, 1)) for one in answers]) if self.paired else self.joined(answers)

    def pairs(self, rows: Sequence[PreferenceSegment]) -> Batch:
        """Pairs of answers in one micro-batch."""
        return preference_batch(rows, packed=self.packed, pad_id=self.pad_id).to(self.device)

    def _lengths(self, rows: np.ndarray) -> np.ndarray:
        return (self.dataset.lengths[rows] + self.max_new_tokens) * (2 if self.paired else 1)

    def joined(self, samples: Sequence[Sample]) -> Experience:
        """Completions in one micro-batch."""
        made = experience(samples, packed=self.packed, pad_id=self.pad_id).to(self.device)
        assert isinstance(made, Experience)
        return made


def with_told(one: Sample, **told: Tensor) -> Sample:
    """The completion with more numbers per sampled token."""
    given = {item.name: getattr(one, item.name) for item in fields(one) if item.name != "told"}
    return Sample(**given, told={**one.told, **{name: value.cpu().float() for name, value in told.items()}})

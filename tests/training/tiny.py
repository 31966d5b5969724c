"""A language model small enough to train in a millisecond, and rows for it: for the tests of everything around it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from accorda.data.batch import Batch, Segment
from accorda.data.sampler import Batches
from accorda.objectives.language_model import chunked_loss
from accorda.training.loop import Loop
from accorda.training.optimizers.adamw import AdamW
from accorda.training.optimizers.contract import Settings
from accorda.training.optimizers.groups import parameter_groups
from accorda.training.rng import seed_all
from accorda.training.schedule import Schedule

VOCABULARY, WIDTH = 29, 8


class TinyModel(nn.Module):
    """Frozen embedding, a trained layer with dropout and a count of its uses, a trained head. Position by position."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.layer.register_buffer("uses", torch.zeros((), dtype=torch.int64))
        self.norm = nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.embedding.requires_grad_(False)
        self.norm.requires_grad_(False)

    def forward(self, input_ids: Tensor) -> Tensor:
        if self.training:
            self.layer.uses += 1
        return self.norm(torch.tanh(self.layer(self.dropout(self.embedding(input_ids)))))


def objective(model: nn.Module, batch: Batch) -> Tensor:
    hidden = model(batch.input_ids).flatten(0, 1)
    positions, labels = batch.targets()
    return chunked_loss(hidden[positions], labels, model.head, list(model.head.parameters()), 16)


class Rows:
    """Rows of random ids, the first third of each a prompt."""

    def __init__(self, count: int = 23, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        self.segments = [self._row(draw, index) for index in range(count)]
        self.lengths = np.array([len(segment) for segment in self.segments])
        self.encoder_lengths = np.zeros_like(self.lengths)

    def _row(self, draw: np.random.Generator, index: int) -> Segment:
        length = int(draw.integers(3, 12))
        ids = draw.integers(0, VOCABULARY - 1, length).astype(np.int32)  # the last id is left for poison
        return Segment(index, ids, np.arange(length) >= length // 3, "rows.jsonl", index + 1)

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int) -> Segment:
        return self.segments[index]


def make_loop(
    *,
    rows: Rows | None = None,
    dropout: float = 0.0,
    settings: Settings | None = None,
    batch_size: int = 8,
    micro_tokens: int = 30,
    packed: bool = True,
    num_steps: int = 12,
    **more: Any,
) -> Loop:
    """A loop over 23 rows: two full steps and a partial one per epoch."""
    seed_all(7)
    model = TinyModel(dropout)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = (settings or AdamW()).build(parameter_groups(trained, weight_decay=0.01))
    batches = Batches(rows or Rows(), batch_size=batch_size, micro_tokens=micro_tokens, packed=packed, seed=5)
    schedule = Schedule("cosine", 0.01, num_steps, 2)
    return Loop(model=model, objective=objective, batches=batches, optimizer=optimizer, schedule=schedule, **more)


def parameters(loop: Loop) -> dict[str, bytes]:
    """The bytes of what trains."""
    return {name: p.detach().numpy().tobytes() for name, p in loop.parameters().items()}


def checkpoints(run: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").iterdir())

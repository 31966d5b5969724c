"""A small run put together by hand: a real model class, rows of random tokens, the package's own loop."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from tests.zoo import VOCABULARY, make, tiny_tokenizer

from accorda.data.batch import Segment
from accorda.data.renderer import Renderer
from accorda.data.sampler import Batches
from accorda.methods.checkpointing import enable_checkpointing
from accorda.methods.install import freeze, install, trainable
from accorda.methods.storage import save_adapter
from accorda.models.attention import use_attention
from accorda.models.heads import last_hidden, logits, tail_parameters
from accorda.objectives.language_model import chunked_loss
from accorda.proofs import observers
from accorda.quantization.convert import quantize_model
from accorda.runs.layout import RunFolder
from accorda.training import checkpoint
from accorda.training.loop import Loop
from accorda.training.optimizers.adamw import AdamW
from accorda.training.optimizers.groups import parameter_groups
from accorda.training.precision import Precision
from accorda.training.session import Session

TOKENIZER = tiny_tokenizer()
OPTIONS = ("packed", "precision", "dtype", "quantization")


class Rows:
    """Rows of random tokens whose last third is supervised."""

    def __init__(self, number: int = 12, seed: int = 0):
        random = np.random.default_rng(seed)
        self.segments = [self._row(index, random) for index in range(number)]
        self.lengths = np.array([len(segment) for segment in self.segments])
        self.encoder_lengths = np.zeros_like(self.lengths)

    def _row(self, index: int, random: np.random.Generator) -> Segment:
        length = int(random.integers(6, 20))
        ids = random.integers(3, VOCABULARY, length).astype(np.int32)
        return Segment(index, ids, np.arange(length) >= 2 * length // 3, "rows", index + 1)

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int, /) -> Segment:
        return self.segments[index]


def loss(model: Any, batch: Any) -> torch.Tensor:
    """Summed cross-entropy over the supervised tokens, as the stages have it."""
    hidden = last_hidden(model, **batch.inputs())
    positions, labels = batch.targets()
    return chunked_loss(
        hidden.flatten(0, 1)[positions], labels, lambda h: logits(model, h), tail_parameters(model), chunk=5
    )


def session(
    folder: Path, method: Any, architecture: str = "llama", *, checkpointing: bool = False, seed: int = 0, **given: Any
) -> Session:
    """A session that can be stepped; `given`: packed, precision, dtype, quantization, and what `make` takes."""
    torch.manual_seed(seed)
    overrides = {key: value for key, value in given.items() if key not in OPTIONS}
    model = make(architecture, **overrides)
    if "quantization" in given:
        quantize_model(model, given["quantization"])
    kept = use_attention(model)
    freeze(model)
    install(model, method)
    model.to(given.get("dtype", torch.float32))
    precision = given.get("precision", Precision())
    precision.prepare(model)
    if checkpointing:
        enable_checkpointing(model)
    packed = given.get("packed", kept is None)
    batches = Batches(Rows(), batch_size=4, micro_tokens=32, packed=packed, seed=seed)
    loop = Loop(
        model=model,
        objective=loss,
        batches=batches,
        optimizer=AdamW().build(parameter_groups(trainable(model))),
        schedule=lambda step: 0.01,
        precision=precision,
    )
    made = Session(
        model=model,
        tokenizer=TOKENIZER,
        renderer=Renderer(TOKENIZER),
        method=method if isinstance(method, tuple) else (method,),
        recipe=SimpleNamespace(),
        train=batches.dataset,
        eval=None,
        batches=batches,
        objective=loss,
        loop=loop,
        folder=RunFolder(folder),
        device=torch.device("cpu"),
    )
    loop.observers = observers(made)
    return made


def train(made: Session, steps: int = 4, checkpoint_at: int | None = 2) -> Session:
    """Step, and write one checkpoint on the way as a run does."""
    for step in range(1, steps + 1):
        made.loop.step()
        if step == checkpoint_at:
            save_checkpoint(made)
    return made


def save_checkpoint(made: Session) -> Path:
    """Write the loop's state and let the observers look."""
    place = made.folder.checkpoint(made.loop.step_number)
    checkpoint.save(place, made.loop.state(copy=False))
    for observer in made.loop.observers:
        observer.after_checkpoint(made.loop, place)
    return place


def save(made: Session) -> Session:
    """Write the adapter into the run's folder, as a stage does."""

    def beside(folder: Path) -> None:
        made.renderer.save(folder)
        made.tokenizer.save_pretrained(str(folder))

    save_adapter(made.model, made.folder.adapter, beside=beside)
    return made

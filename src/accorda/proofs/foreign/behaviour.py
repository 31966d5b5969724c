"""What a tuned model says on rows that are given: did it learn to end, and does merging change its answers?"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accorda.data.batch import Segment
from accorda.data.prepare import prepare
from accorda.data.renderer import Renderer
from accorda.errors import Refusal
from accorda.methods.open import open_model
from accorda.methods.routing import use
from accorda.models.decoder_start import decoder_start
from accorda.models.tokenizer import load_tokenizer
from accorda.proofs.contract import Check, Proof, check
from accorda.proofs.foreign.folder import Folder
from accorda.proofs.merge import merged_alike
from accorda.proofs.numerics import alone, few_rows, in_fp32
from accorda.proofs.words import runs
from accorda.recipe.sections import DataSection

MOST_LENGTH = 1024
ROWS = 16
LEAST_SHARE = 0.5  # of the words' gain; among the labels an end gains more than words, being the same in every row
LIKELY = 0.5


@dataclass
class Given:
    """Rows as the folder's own tokenizer and template make them."""

    segments: list[Segment]
    model: PreTrainedModel
    base: PreTrainedModel | None  # None where the model's own adapter can be switched off instead


def behaviour(folder: Folder, data: Any, columns: dict[str, str] | None = None) -> tuple[list[Check], Proof]:
    """The check of the end, and the proof of merging, on the rows of `data` (a file, or a list of rows).

    Raises:
        Refusal: the rows cannot be read, or none of them can be rendered.
    """
    if data is None:
        reason = "no rows are given to compare merged and unmerged log-probabilities on"
        return [], Proof("merge", "not applicable", reason)
    try:
        given = _opened(folder, data, columns or {})
    except NotOpened as fault:
        return [Check("end learned", "not applicable", str(fault))], Proof("merge", "not applicable", str(fault))
    if folder.kind == "model":
        merge = Proof("merge", "not applicable", "a whole model has nothing to merge")
    else:
        merge = merged_alike(given.model, few_rows(given.segments))
    return [_end_learned(given)], merge


class NotOpened(Exception):
    """The files are an adapter or a model that this package cannot run."""


def _opened(folder: Folder, data: Any, columns: dict[str, str]) -> Given:
    tokenizer_home = folder.tokenizer_home
    if tokenizer_home is None:
        raise NotOpened("there is no tokenizer to render the rows with")
    try:
        if folder.kind == "model":
            model = open_model(folder.path).model
            base = None if folder.base is None else open_model(folder.base).model
        elif folder.base is None:
            raise NotOpened("the base is not here; give it with --base, or base= from Python")
        else:
            model, base = open_model(folder.base, adapter=folder.path).model, None
    except Refusal as refusal:
        raise NotOpened(f"accorda cannot run it: {refusal}") from refusal
    return Given(_segments(tokenizer_home, model, data, columns), model, base)


def _segments(home: Path, model: PreTrainedModel, data: Any, columns: dict[str, str]) -> list[Segment]:
    tokenizer = load_tokenizer(home)
    own = home / "renderer.json"
    start = decoder_start(model)
    renderer = Renderer.load(home, tokenizer) if own.is_file() else Renderer(tokenizer, decoder_start=start)
    source = str(data) if isinstance(data, Path) else data
    section = DataSection(train=source, eval_split=0.0, columns=columns, overlong="skip", on_bad_row="skip")
    length = min(getattr(model.config, "max_position_embeddings", None) or MOST_LENGTH, MOST_LENGTH)
    with tempfile.TemporaryDirectory() as store:
        dataset = prepare(section, renderer, max_length=length, store_folder=store)
        return few_rows([dataset[index] for index in range(min(len(dataset), 4 * ROWS))], most=ROWS)


def _end_learned(given: Given) -> Check:
    """The token that ends the completions became likelier, if what stands before it did, or is likely anyway."""
    last = torch.tensor([end for segment in given.segments for end in _ends(segment)])
    if not last.any() or last.all():
        return Check("end learned", "not applicable", "the rows hold no completion with an end")
    if given.base is None and not hasattr(given.model, "adapter_routing"):
        return Check(
            "end learned",
            "not applicable",
            "there is no base to compare with; give it with --base, or base= from Python",
        )
    tuned, before = _scores(given)
    gain = (tuned - before).cpu()
    end, words = float(gain[last].mean()), float(gain[~last].mean())
    likely = float(tuned.cpu()[last].exp().mean())
    told = (
        f"against the base, words gained {words:+.2f} nats, the token that ends an answer {end:+.2f}, to {likely:.1%}"
    )
    if words <= 0:
        return Check("end learned", "not applicable", f"these rows are not what it was tuned on; {told}")
    learned = end > LEAST_SHARE * words or likely > LIKELY
    why = f"{told}: it learned the answers and hardly to stop; was eos left unlabelled?"
    return check("end learned", learned, told, why)


def _ends(segment: Segment) -> list[bool]:
    """For every supervised token but a first one: whether it is the last of its stretch."""
    return [at == end - 1 for start, end in runs(segment.supervised) for at in range(max(start, 1), end)]


def _scores(given: Given) -> tuple[Tensor, Tensor]:
    with torch.no_grad(), in_fp32(given.model):
        tuned = alone(given.model, given.segments)
        with _base_of(given) as base:
            return tuned, alone(base, given.segments)


@contextmanager
def _base_of(given: Given) -> Iterator[PreTrainedModel]:
    if given.base is None:
        with use(given.model, None) as model:
            yield model
    else:
        with in_fp32(given.base):
            yield given.base

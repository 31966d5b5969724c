"""A few held-out rows with what the tuned model calls them: what `samples.json` of a classification holds."""

from time import monotonic
from typing import Any

from accorda.data.labelled.dataset import LabelledDataset
from accorda.data.labelled.renderer import LabelledRenderer
from accorda.evaluation.labelled.predict import predicted, probabilities, segments_of
from accorda.evaluation.side_by_side import HELD_OUT, TRAINED_ON
from accorda.models.labels import Labels
from accorda.training.rng import undisturbed
from accorda.training.session import Session


def samples(session: Session, seconds: float) -> dict[str, Any] | None:
    """The labels of the first `evaluation.samples` rows, as they are and as the model says; None for none.

    An untrained head says nothing, so the base stands not beside it. What it costs is far below `seconds`.
    """
    rows = session.eval if session.eval is not None else session.train
    wanted = session.recipe.evaluation.samples
    assert isinstance(rows, LabelledDataset)
    assert isinstance(session.renderer, LabelledRenderer)
    if not wanted:
        return None
    began, segments, labels = monotonic(), segments_of(rows, wanted), session.renderer.labels
    with undisturbed(), session.loop.precision.autocast():
        outputs = predicted(session.model, segments)
    told = [answer(labels, output) for output in outputs]
    return {
        "rows": HELD_OUT if session.eval is not None else TRAINED_ON,
        "labelled": True,
        "seconds": monotonic() - began,
        "samples": [
            {
                "prompt": shown(rows, segment.index),
                "reference": str(rows.example(segment.index).label),
                "tuned": {"text": text, "stopped": True},
            }
            for segment, text in zip(segments, told, strict=True)
        ],
    }


def shown(rows: LabelledDataset, index: int) -> str:
    """A row's text, or both."""
    example = rows.example(index)
    return "\n".join(text for text in (example.text, example.text_pair) if text)


def answer(labels: Labels, output: Any) -> str:
    """`pos (98.1%)`, or the number."""
    if labels.is_number:
        return f"{float(output[0]):.4g}"
    found = probabilities(output[None])[0]
    return f"{labels.names[int(found.argmax())]} ({found.max():.1%})"

"""The evaluation of a running classification: what its loop calls every so many steps."""

from collections.abc import Callable
from typing import Any

from accorda.data.labelled.dataset import LabelledDataset
from accorda.data.labelled.renderer import LabelledRenderer
from accorda.evaluation.labelled.predict import has, predicted, rows_of, segments_of
from accorda.evaluation.measure import scored
from accorda.evaluation.registry import read_metrics, require_fitting
from accorda.training.session import Session

BATCH_SIZE = 8  # rows measured at once


def evaluator(session: Session, batch_size: int = BATCH_SIZE) -> Callable[[], dict[str, Any]] | None:
    """A function that measures the session's model now; None where the session has no evaluation rows.

    It gives `eval_loss` (mean cross-entropy in nats, or mean squared error), the metrics the recipe names, and
    "intervals" {name: [low, high]} of them all (95%, bootstrap over rows).

    Raises:
        Refusal: an unknown metric, or one of generated answers.
    """
    renderer = session.renderer
    assert isinstance(renderer, LabelledRenderer)
    labels = renderer.labels
    metrics = read_metrics(("eval_loss", *session.recipe.evaluation.metrics))
    require_fitting(metrics, has(labels))
    if session.eval is None:
        return None
    assert isinstance(session.eval, LabelledDataset)
    segments = segments_of(session.eval)

    def evaluate() -> dict[str, Any]:
        with session.loop.precision.autocast():
            outputs = predicted(session.model, segments, batch_size=batch_size)
        found = scored(metrics, rows_of(outputs, segments, labels)).estimates
        values: dict[str, Any] = {name: estimate.value for name, estimate in found.items()}
        return values | {"intervals": {name: [estimate.low, estimate.high] for name, estimate in found.items()}}

    return evaluate

"""The evaluation of a running stage reward or preference: what its loop calls every so many steps."""

from collections.abc import Callable
from typing import Any

from accorda.data.preferences.dataset import PreferenceDataset
from accorda.evaluation.evaluate import answers
from accorda.evaluation.measure import Measured, complete, scored
from accorda.evaluation.preferences.judge import judged, rows_of, segments_of
from accorda.evaluation.questions import questions
from accorda.evaluation.registry import OF_COMPARISONS, read_metrics, require_fitting
from accorda.training.comparing import Comparing
from accorda.training.session import Session

BATCH_SIZE = 8  # rows measured at once


def evaluator(session: Session, batch_size: int = BATCH_SIZE) -> Callable[[], dict[str, Any]] | None:
    """A function that measures the session's model now; None where the session has no evaluation rows.

    It gives `eval_loss` (the objective's own, a mean over rows), the metrics the recipe names, "intervals" {name:
    [low, high]} of them all (95%, bootstrap over prompts), and, if `evaluation.generate` is not 0, "samples" of that
    many prompts answered.

    Raises:
        Refusal: an unknown metric, or one of something else.
    """
    wanted = session.recipe.evaluation
    metrics = read_metrics(("eval_loss", *wanted.metrics))
    require_fitting(metrics, OF_COMPARISONS)
    if session.eval is None:
        return None
    objective, rows = session.objective, session.eval
    assert isinstance(objective, Comparing)
    assert isinstance(rows, PreferenceDataset)
    segments = segments_of(rows)
    asked = questions(rows, session.renderer, range(min(wanted.generate, len(rows))))

    def evaluate() -> dict[str, Any]:
        with session.loop.precision.autocast():
            rewarded = judged(session.model, objective, segments, batch_size=batch_size)
            found = scored(metrics, rows_of(segments, rewarded)).estimates
            told = Measured({})
            if asked:
                sampling = {"max_new_tokens": wanted.max_new_tokens}
                written = complete(session.model, session.renderer, asked, batch_size=batch_size, sampling=sampling)
                told = Measured({}, completions=written)
        values: dict[str, Any] = {name: estimate.value for name, estimate in found.items()}
        values["intervals"] = {name: [estimate.low, estimate.high] for name, estimate in found.items()}
        return values | answers(asked, told, wanted.generate)

    return evaluate

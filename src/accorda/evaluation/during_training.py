"""The evaluation of a running training: what its loop calls every so many steps."""

from collections.abc import Callable
from typing import Any

from accorda.evaluation.evaluate import NUM_SAMPLES, answers
from accorda.evaluation.measure import Measured, complete, measure, needing
from accorda.evaluation.questions import questions
from accorda.evaluation.registry import read_metrics
from accorda.training.session import Session

BATCH_SIZE = 8  # rows measured or answered at once


def evaluator(session: Session, batch_size: int = BATCH_SIZE) -> Callable[[], dict[str, Any]] | None:
    """A function that measures the session's model now; None where the session has no evaluation rows.

    It gives `eval_loss` over all evaluation rows, the metrics the recipe names, "intervals" {name: [low, high]} of them
    all (95%, bootstrap over rows), and, if `evaluation.generate` is not 0, "samples" of that many
    rows. Metrics of generated answers take `evaluation.generate` rows too; all, if it is 0.

    Raises:
        Refusal: an unknown metric or a missing package: now, not at the first evaluation.
    """
    wanted = session.recipe.evaluation
    metrics = read_metrics(("eval_loss", *wanted.metrics))
    if session.eval is None:
        return None
    asked = questions(session.eval, session.renderer, range(len(session.eval)))
    answered = asked[: wanted.generate or len(asked)]
    likely, generated = needing("likelihood", metrics), needing("generations", metrics)
    sampling = {"max_new_tokens": wanted.max_new_tokens}

    def evaluate() -> dict[str, Any]:
        model, renderer = session.model, session.renderer
        with session.loop.precision.autocast():
            found = measure(model, renderer, asked, likely, batch_size=batch_size, sampling={}).estimates
            told = Measured({})
            if generated:
                told = measure(model, renderer, answered, generated, batch_size=batch_size, sampling=sampling)
            elif wanted.generate:
                completions = complete(model, renderer, answered, batch_size=batch_size, sampling=sampling)
                told = Measured({}, completions=completions)
        estimates = found | told.estimates
        values: dict[str, Any] = {name: estimate.value for name, estimate in estimates.items()}
        values["intervals"] = {name: [estimate.low, estimate.high] for name, estimate in estimates.items()}
        shown = answers(answered, told, wanted.generate or NUM_SAMPLES)
        return values | shown

    return evaluate

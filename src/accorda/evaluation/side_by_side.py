"""A few held-out prompts answered by the base and by the tuned model: what `samples.json` of a run holds."""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from accorda.evaluation.questions import Question, questions
from accorda.generation import sample
from accorda.generation.sample import Completion
from accorda.generation.stopping import stop_ids
from accorda.methods.originals import BASE
from accorda.methods.routing import has_values_of, use
from accorda.training.rng import undisturbed
from accorda.training.session import Session

HELD_OUT, TRAINED_ON = "held out", "trained on"
NO_BASE = "The base's values were not kept (method.keep_base is false), so the tuned model answers alone."


def side_by_side(session: Session, seconds: float) -> dict[str, Any] | None:
    """The answers of both models to the first `evaluation.samples` prompts, greedy; None where none are wanted.

    The base is the session's model with no adapter acting. Without held-out rows the prompts are training rows, and
    `rows` says so. Half of `seconds` is for either model; what is not written then is cut off. Where the base was not
    kept beside what trained, the tuned model answers alone, and `note` says so.
    """
    wanted = session.recipe.evaluation
    rows = session.eval if session.eval is not None else session.train
    if not wanted.samples:
        return None
    asked = questions(rows, session.renderer, range(min(wanted.samples, len(rows))))
    longest = answer_length(asked, wanted.max_new_tokens)
    began = monotonic()
    with undisturbed(), session.loop.precision.autocast():
        base = None
        if has_values_of(session.model, BASE):
            with use(session.model, None):
                base = answered(session, asked, longest, within(seconds / 2))
        tuned = answered(session, asked, longest, within(seconds / 2))
    return {
        "rows": HELD_OUT if session.eval is not None else TRAINED_ON,
        "max_new_tokens": longest,
        "seconds": monotonic() - began,
        **({"note": NO_BASE} if base is None else {}),
        "samples": [
            {"prompt": question.prompt, "reference": question.reference}
            | ({} if base is None else {"base": written(base[at])})
            | {"tuned": written(tuned[at])}
            for at, question in enumerate(asked)
        ],
    }


def answered(session: Session, asked: Sequence[Question], longest: int, enough: Callable[[], bool]) -> list[Completion]:
    """What the model writes as its adapters act now."""
    model, renderer = session.model, session.renderer
    return sample.generate(
        model,
        [question.prompt_ids for question in asked],
        tokenizer=renderer.tokenizer,
        stop_ids=stop_ids(model, renderer.tokenizer, renderer.stop_ids),
        max_new_tokens=longest,
        enough=enough,
    )


def answer_length(asked: Sequence[Question], most: int) -> int:
    """Tokens to allow: a quarter more than the longest reference has, so that a model that never ends costs little."""
    longest = max(len(question.segment.input_ids) - len(question.prompt_ids) for question in asked)
    return max(1, min(most, longest + longest // 4 + 4))


def within(seconds: float) -> Callable[[], bool]:
    """Whether that many seconds have passed since now."""
    until = monotonic() + seconds
    return lambda: monotonic() > until


def written(completion: Completion) -> dict[str, Any]:
    """For JSON."""
    return {"text": completion.text, "stopped": completion.stopped}

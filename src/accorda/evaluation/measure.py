"""One model, one list of questions, some metrics: the numbers with their intervals, and what the model wrote."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel

from accorda.data.renderer import Renderer
from accorda.errors import Refusal
from accorda.evaluation.intervals import NUM_RESAMPLES, Estimate, estimate
from accorda.evaluation.likelihood import likelihoods
from accorda.evaluation.metric import Metric, Needs, Row
from accorda.evaluation.questions import Question
from accorda.evaluation.registry import require_fitting
from accorda.generation import sample
from accorda.generation.sample import Completion
from accorda.generation.stopping import stop_ids


@dataclass(frozen=True, eq=False)
class Measured:
    """What came out. `completions` stands in the order of the questions, empty where nothing was generated."""

    estimates: dict[str, Estimate]
    notes: dict[str, dict[str, str]] = field(default_factory=dict)
    completions: list[Completion] = field(default_factory=list)

    @property
    def stop_rate(self) -> float | None:
        """Share of completions that the model itself ended; None where there are none."""
        if not self.completions:
            return None
        return sum(completion.stopped for completion in self.completions) / len(self.completions)


def measure(
    model: PreTrainedModel,
    renderer: Renderer,
    asked: Sequence[Question],
    metrics: Mapping[str, Metric],
    *,
    batch_size: int = 8,
    sampling: Mapping[str, Any],
    num_resamples: int = NUM_RESAMPLES,
) -> Measured:
    """The metrics of the model as its adapters act now; `num_resamples` 0 gives intervals without width.

    Raises:
        Refusal: metrics of generated answers for rows that are plain text.
    """
    require_fitting(metrics)
    likely, generated = needing("likelihood", metrics), needing("generations", metrics)
    _require_answers(generated, asked)
    measured: list[Measured] = []
    completions: list[Completion] = []
    if likely:
        rows = likelihoods(model, [question.segment for question in asked], batch_size=batch_size)
        measured.append(scored(likely, rows, num_resamples))
    if generated:
        completions = complete(model, renderer, asked, batch_size=batch_size, sampling=sampling)
        rows = [Row(c.text, (q.reference,)) for c, q in zip(completions, asked, strict=True)]
        measured.append(scored(generated, rows, num_resamples))
    found = {name: value for each in measured for name, value in each.estimates.items()}
    return Measured(found, {name: note for each in measured for name, note in each.notes.items()}, completions)


def scored(metrics: Mapping[str, Metric], rows: Sequence[Row], num_resamples: int = NUM_RESAMPLES) -> Measured:
    """The metrics over rows that have been measured, with intervals and notes."""
    found, notes = {}, {}
    for metric in metrics.values():
        values = estimate(metric, rows, num_resamples=num_resamples)
        found |= values
        notes |= {name: {"direction": metric.direction, **metric.notes(rows)} for name in values}
    return Measured(found, notes)


def complete(
    model: PreTrainedModel,
    renderer: Renderer,
    asked: Sequence[Question],
    *,
    batch_size: int,
    sampling: Mapping[str, Any],
) -> list[Completion]:
    """What the model writes to every question."""
    tokenizer = renderer.tokenizer
    return sample.generate(
        model,
        [question.prompt_ids for question in asked],
        tokenizer=tokenizer,
        stop_ids=stop_ids(model, tokenizer, renderer.stop_ids),
        batch_size=batch_size,
        **sampling,
    )


def needing(need: Needs, metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """Those of the metrics that need this."""
    return {name: metric for name, metric in metrics.items() if metric.needs == need}


def _require_answers(metrics: Mapping[str, Metric], asked: Sequence[Question]) -> None:
    if metrics and any(question.example.kind == "text" for question in asked):
        names = ", ".join(metrics)
        raise Refusal(f"metrics: {names}: answers are compared with references, and these rows are plain text")

"""One line of a report: a model under one adapter, measured on the report's questions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedModel

from accorda.data.renderer import Renderer
from accorda.evaluation.evaluate import NUM_SAMPLES
from accorda.evaluation.fewshot import Shots, Shown, show
from accorda.evaluation.measure import Measured, complete, measure
from accorda.evaluation.metric import Metric
from accorda.evaluation.questions import Question
from accorda.evaluation.rows import room
from accorda.generation.progress import part
from accorda.generation.sampling import Sampling
from accorda.methods.routing import use
from accorda.recipe.reader import read


@dataclass(frozen=True, eq=False)
class Line:
    """One row of a report; without `measured`, `note` says why there is nothing to see."""

    name: str
    measured: Measured | None = None
    samples: Sequence[str] = ()
    note: str = ""
    shots: Mapping[str, float] | None = None
    """Examples in front of a question: how many were asked for, the least and the mean that found room."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = self.measured.estimates if self.measured else {}
        return {
            "name": self.name,
            "metrics": {name: {"value": e.value, "low": e.low, "high": e.high} for name, e in found.items()},
            "stop_rate": self.measured.stop_rate if self.measured else None,
            "shots": dict(self.shots) if self.shots is not None else None,
            "note": self.note,
        }


@dataclass(frozen=True, eq=False)
class Bench:
    """What is the same for every line."""

    renderer: Renderer
    asked: Sequence[Question]
    metrics: Mapping[str, Metric]
    sampling: Mapping[str, Any]
    batch_size: int = 8

    def line(self, name: str, model: PreTrainedModel, adapter: str | None) -> Line:
        """The model under this adapter, or as its base."""
        with use(model, adapter), part(name):
            return self._measured(name, model, self.asked, self.sampling)

    def shown(self, model: PreTrainedModel, shots: Shots) -> Line:
        """The base with examples in context."""
        sampling = dict(self.sampling)
        if self.asked[0].example.kind == "completion":  # the base goes on with one more example: cut in front of it
            sampling["stop_texts"] = (*sampling.get("stop_texts", ()), shots.separator)
        with use(model, None), part(name_of(shots.number)):
            put = show(shots, self.asked, self.renderer, room(model), self._reserve())
            line = self._measured(name_of(shots.number), model, put.questions, sampling)
        return replace(line, shots=_counted(put, shots.number), note=_note(put, shots.number))

    def _measured(
        self, name: str, model: PreTrainedModel, asked: Sequence[Question], sampling: Mapping[str, Any]
    ) -> Line:
        batch_size = self.batch_size
        measured = measure(model, self.renderer, asked, self.metrics, batch_size=batch_size, sampling=sampling)
        written = measured.completions[:NUM_SAMPLES] or complete(
            model, self.renderer, asked[:NUM_SAMPLES], batch_size=batch_size, sampling=sampling
        )
        return Line(name, measured, [completion.text for completion in written])

    def _reserve(self) -> int:
        """Tokens to leave free for an answer."""
        if all(metric.needs == "likelihood" for metric in self.metrics.values()):
            return 0
        return read(Sampling, self.sampling, at="sampling").max_new_tokens


def name_of(number: int) -> str:
    """What the line with examples in context is called."""
    return f"base + {number} example{'s' if number != 1 else ''}"


def _counted(put: Shown, number: int) -> dict[str, float]:
    mean = sum(given * rows for given, rows in put.counts.items()) / len(put.questions)
    return {"asked": number, "least": min(put.counts), "mean": mean}


def _note(put: Shown, number: int) -> str:
    fewer = sum(count for given, count in put.counts.items() if given < number)
    if not fewer:
        return ""
    return f"{fewer} of {len(put.questions)} rows had room for fewer, the least {min(put.counts)}"

"""The report that always carries three rows: the base, the base with examples in context, and the tuned model.

All three answer the same questions, through the same renderer. The base is the tuned model without its adapter, so one
model is resident; only where every parameter was trained does the base have to be loaded for itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedModel

from accorda.data.dataset import Dataset
from accorda.data.recorded import recorded
from accorda.data.renderer import Renderer
from accorda.data.settings import Split
from accorda.errors import Refusal
from accorda.evaluation.bench import Bench, Line, name_of
from accorda.evaluation.evaluate import Metrics
from accorda.evaluation.fewshot import Shots, draw
from accorda.evaluation.questions import Question, questions
from accorda.evaluation.registry import read_metrics
from accorda.evaluation.rows import as_source, dataset_of, num_trained_on
from accorda.methods.backbone import check_no_placeholders
from accorda.methods.base_of_run import base_of
from accorda.methods.open import Opened
from accorda.models.decoder_start import decoder_start
from accorda.models.load import load_tokenizer
from accorda.recipe.sections import DataSection, Recipe

SHOTS = 3


@dataclass(frozen=True, eq=False)
class Origin:
    """What was opened, the recipe it was made by if it is a run, and the renderer its rows go through."""

    opened: Opened
    recipe: Recipe | None
    renderer: Renderer
    columns: Mapping[str, str]

    @staticmethod
    def of(opened: Opened, columns: Mapping[str, str]) -> "Origin":
        """With the run's own renderer, else the tokenizer's."""
        recipe = recorded(opened.run) if opened.run is not None else None
        tokenizer = load_tokenizer(opened.tokenizer_source, recipe is not None and recipe.model.trust_remote_code)
        if opened.renderer_path is not None:
            return Origin(opened, recipe, Renderer.load(opened.renderer_path.parent, tokenizer), columns)
        renderer = Renderer(tokenizer, decoder_start=decoder_start(opened.model))
        return Origin(opened, recipe, renderer, columns)

    def evaluated(self, data: Any, limit: int | None) -> Dataset:
        """The rows to measure with: those named, else those the run was evaluated with."""
        if data is None and self.recipe is None:
            raise Refusal("data: no rows to evaluate with; name a file with --data")
        return self._dataset(data, "eval", limit)

    def trained_on(self, dataset: Dataset) -> int | None:
        """How many of the rows the run learned from; None where that is not known."""
        if self.recipe is None:
            return None
        try:
            return num_trained_on(dataset, self._dataset(None, "train", None))
        except Refusal:  # its rows are not here any more
            return None

    def shots(self, train: Any, number: int, kind: str, seed: int) -> Shots | str:
        """Examples to show the base, or why there are none."""
        if number < 1:
            return "no examples were asked for"
        if train is None and self.recipe is None:
            return "no training rows were named to show examples from"
        try:
            source = self._dataset(train, "train", None)
        except Refusal as refusal:
            if train is not None:  # rows that were asked for by name
                raise Refusal(f"train: {str(refusal).removeprefix('data.eval: ')}") from None
            return f"no examples: {refusal}"
        return draw(source, number, kind, seed) or "no training row is a question with an answer"

    def _dataset(self, data: Any, split: Split, limit: int | None) -> Dataset:
        """Rows named or, for None, the run's own of this split; read with the run's settings where there is a run."""
        model, renderer = self.opened.model, self.renderer
        if isinstance(data, Dataset | DataSection):
            return dataset_of(data, model, renderer, limit=limit)
        section = self.recipe.data if self.recipe is not None else DataSection()
        if data is not None:
            section, split = (
                replace(section, eval=as_source(data), columns=dict(self.columns or section.columns)),
                "eval",
            )
        if self.recipe is None:
            return dataset_of(section, model, renderer, limit=limit)
        stage, seed = "pretrain" if self.recipe.stage == "pretrain" else "sft", self.recipe.training.seed
        return dataset_of(section, model, renderer, limit=limit, stage=stage, split=split, seed=seed)


def report(
    opened: Opened,
    data: Any = None,
    metrics: Metrics = ("perplexity",),
    *,
    shots: int = SHOTS,
    train: Any = None,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    **sampling: Any,
) -> dict[str, Any]:
    """Measure base, base with examples in context, and tuned model on the same rows.

    Args:
        opened: what `open_model` gave for a run, an adapter folder or a model.
        data: as `evaluate` takes it; a run's own settings (columns, template, length) apply. Default: the rows the run
            was evaluated with.
        metrics: as `evaluate` takes them.
        shots: how many examples to show the base. Questions whose context is too short get fewer, which is told.
        train: where examples come from, as `data`. Default: the run's own training rows.
        columns: which column of `data` and `train` is which field of ours. Default: as in the run's training.
        limit: at most this many rows.
        batch_size: rows per forward.
        **sampling: fields of `Sampling`, for the answers; its seed also draws the examples.

    Returns:
        {"rows": [{"name", "metrics": {name: {"value", "low", "high"}}, "stop_rate", "shots", "note"}],
        "metrics": [{"name", "direction", ...}], "num_rows", "data": {"seen", "kept", "trained_on", ...},
        "samples": [{"prompt", "reference", "answers": {row name: text}}]}

    Raises:
        Refusal: as `evaluate`; no data named and no run to take it from.
    """
    read = read_metrics(metrics)
    check_no_placeholders(opened.model)
    origin = Origin.of(opened, columns or {})
    dataset = origin.evaluated(data, limit)
    asked = questions(dataset, origin.renderer, range(len(dataset) if limit is None else min(limit, len(dataset))))
    drawn = origin.shots(train, shots, asked[0].example.kind, int(sampling.get("seed", 0)))
    lines = _lines(origin, Bench(origin.renderer, asked, read, sampling, batch_size), drawn, shots)
    return {
        "rows": [line.to_dict() for line in lines],
        "metrics": _described(lines),
        "num_rows": len(asked),
        "data": dataset.report.rows | {"trained_on": None if data is None else origin.trained_on(dataset)},
        "samples": _side_by_side(asked, lines),
    }


def _lines(origin: Origin, bench: Bench, drawn: Shots | str, shots: int) -> list[Line]:
    """The three rows, the base first."""
    opened = origin.opened
    if opened.adapter_name is None and origin.recipe is not None:
        tuned = bench.line("tuned", opened.model, None)
        try:
            base = base_of(origin.recipe.model)
        except Refusal as refusal:
            return [Line("base", note=str(refusal)), Line(name_of(shots), note=str(refusal)), tuned]
        return [*_base_lines(bench, base, drawn, shots), tuned]
    lines = _base_lines(bench, opened.model, drawn, shots)
    if opened.adapter_name is None:
        return [*lines, Line("tuned", note="no adapter: this model is measured as the base")]
    return [*lines, bench.line("tuned", opened.model, opened.adapter_name)]


def _base_lines(bench: Bench, model: PreTrainedModel, drawn: Shots | str, shots: int) -> list[Line]:
    base = bench.line("base", model, None)
    return [base, Line(name_of(shots), note=drawn) if isinstance(drawn, str) else bench.shown(model, drawn)]


def _described(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Every reported number with what must be known to compare it."""
    notes = {name: note for line in lines if line.measured for name, note in line.measured.notes.items()}
    return [{"name": name, **note} for name, note in notes.items()]


def _side_by_side(asked: Sequence[Question], lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The first questions with everybody's answer."""
    told = {line.name: line.samples for line in lines if line.samples}
    number = min(map(len, told.values()), default=0)
    return [
        {"prompt": q.prompt, "reference": q.reference, "answers": {name: texts[at] for name, texts in told.items()}}
        for at, q in enumerate(asked[:number])
    ]

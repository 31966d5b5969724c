"""The report on a classifier: the commonest label, a linear probe on the frozen base, and the tuned model.

A base with an untrained head says nothing, so these stand where other reports have the base with and without examples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from accorda.data.labelled.batch import LabelledSegment
from accorda.data.labelled.dataset import LabelledDataset
from accorda.data.labelled.renderer import LabelledRenderer, load_renderer
from accorda.data.recorded import recorded
from accorda.data.settings import Split
from accorda.errors import Refusal
from accorda.evaluation.bench import Line
from accorda.evaluation.evaluate import Metrics
from accorda.evaluation.labelled.predict import has, predicted, renderer_for, rows_of, segments_of, settle_padding
from accorda.evaluation.labelled.probe import constant, probe
from accorda.evaluation.labelled.samples import answer, shown
from accorda.evaluation.measure import Measured, scored
from accorda.evaluation.metric import Metric
from accorda.evaluation.registry import read_metrics, require_fitting
from accorda.evaluation.rows import as_source, dataset_of
from accorda.generation.progress import part
from accorda.methods.open import Opened, open_model
from accorda.methods.routing import use
from accorda.models.labels import Labels
from accorda.models.load import load_tokenizer
from accorda.recipe.sections import DataSection, Recipe

NUM_SAMPLES = 5
CONSTANT, PROBE, TUNED = {False: "majority class", True: "mean"}, "linear probe", "tuned"


def report(
    opened: Opened,
    data: Any = None,
    metrics: Metrics = ("accuracy",),
    *,
    train: Any = None,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    batch_size: int = 8,
) -> dict[str, Any]:
    """Measure the commonest label, a linear probe and the tuned model on the same rows.

    Args and returned keys are those of `accorda.evaluation.report.report`; `train` are the rows that the first two
    learn from.

    Raises:
        Refusal: metrics of something else; no data named and no run to take it from; rows with other labels.
    """
    recipe = recorded(opened.run) if opened.run is not None else None
    renderer = opened_renderer(opened, recipe)
    labels, read = renderer.labels, read_metrics(metrics)
    require_fitting(read, has(labels))
    source = _Source(opened.model, renderer, recipe, dict(columns or {}))
    if data is None and recipe is None:
        raise Refusal("data: no rows to evaluate with; name a file with --data")
    dataset = source.rows(data, "eval", limit)
    asked = segments_of(dataset, limit)
    lines, outputs = _lines(opened, source, train, asked, read, batch_size)
    answers = {name: [answer(labels, output) for output in found[:NUM_SAMPLES]] for name, found in outputs.items()}
    notes = {name: note for line in lines if line.measured for name, note in line.measured.notes.items()}
    return {
        "rows": [line.to_dict() for line in lines],
        "metrics": [{"name": name, **note} for name, note in notes.items()],
        "num_rows": len(asked),
        "data": dataset.report.rows,
        "labels": list(labels.names),
        "samples": [
            {
                "prompt": shown(dataset, segment.index),
                "reference": str(dataset.example(segment.index).label),
                "answers": {name: texts[at] for name, texts in answers.items()},
            }
            for at, segment in enumerate(asked[:NUM_SAMPLES])
        ],
    }


def opened_renderer(opened: Opened, recipe: Recipe | None = None) -> LabelledRenderer:
    """How texts become ids for a model with a classification head; the model is told what pads them."""
    code = recipe is not None and recipe.model.trust_remote_code
    tokenizer = load_tokenizer(opened.tokenizer_source, code)
    settle_padding(opened.model, tokenizer)
    if opened.renderer_path is not None:
        stored = load_renderer(opened.renderer_path.parent, tokenizer)
        if isinstance(stored, LabelledRenderer):
            return stored
    return renderer_for(opened.model, tokenizer, Labels.of(opened.model.config))


class _Source:
    """Where rows come from: those named, read as in the run, else the run's own."""

    def __init__(
        self, model: PreTrainedModel, renderer: LabelledRenderer, recipe: Recipe | None, columns: dict[str, str]
    ):
        self.model, self.renderer, self.recipe, self.columns = model, renderer, recipe, columns

    def rows(self, data: Any, split: Split, limit: int | None) -> LabelledDataset:
        section = self.recipe.data if self.recipe is not None else DataSection()
        seed = self.recipe.training.seed if self.recipe is not None else 0
        if isinstance(data, DataSection):
            section = data
        elif data is not None:
            section, split = replace(section, eval=as_source(data), columns=self.columns or section.columns), "eval"
        found = dataset_of(section, self.model, self.renderer, limit=limit, stage="classify", split=split, seed=seed)
        assert isinstance(found, LabelledDataset)
        return found


def _lines(
    opened: Opened,
    source: _Source,
    train: Any,
    asked: Sequence[LabelledSegment],
    metrics: Mapping[str, Metric],
    batch_size: int,
) -> tuple[list[Line], dict[str, np.ndarray]]:
    """The three rows, and the outputs behind those that there are."""
    labels, model = source.renderer.labels, opened.model
    names = (CONSTANT[labels.is_number], PROBE)
    outputs: dict[str, np.ndarray] = {}
    lines = []
    seen = _seen(source, train)
    if isinstance(seen, str):
        lines = [Line(name, note=seen) for name in names]
    else:
        outputs[names[0]] = constant(seen, labels, len(asked))
        base = _base(opened, source.recipe)
        if isinstance(base, str):
            lines = [Line(PROBE, note=base)]
        else:
            with use(base, None), part(PROBE):
                outputs[PROBE] = probe(base, seen, asked, labels, batch_size)
    with use(model, opened.adapter_name), part(TUNED):
        outputs[TUNED] = predicted(model, asked, batch_size=batch_size)
    measured = {name: scored(metrics, rows_of(found, asked, labels)) for name, found in outputs.items()}
    told = {line.name: line for line in lines} | {name: _line(name, found) for name, found in measured.items()}
    return [told[name] for name in (*names, TUNED)], outputs


def _line(name: str, measured: Measured) -> Line:
    return Line(name, measured)


def _seen(source: _Source, train: Any) -> list[LabelledSegment] | str:
    """The rows that the baselines learn from, or why there are none."""
    if train is None and source.recipe is None:
        return "no training rows were named to learn from"
    try:
        return segments_of(source.rows(train, "train", None))
    except Refusal as refusal:
        return f"no training rows: {refusal}"


def _base(opened: Opened, recipe: Recipe | None) -> Any:
    """The frozen model behind the tuned one, or why there is none to probe."""
    if opened.adapter_name is not None:
        return opened.model
    if recipe is None:
        return "no adapter: the model that it was trained from is not known"
    if recipe.model.base is None:
        return "the run started from random weights"
    try:
        base = open_model(recipe.model.base, adapter=recipe.model.adapter, head=Labels.of(opened.model.config)).model
    except Refusal as refusal:
        return str(refusal)
    base.config.get_text_config().pad_token_id = opened.model.config.get_text_config().pad_token_id
    return base

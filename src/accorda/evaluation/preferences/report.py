"""How often a reward model, or the reward that a policy implies, agrees with people, beside a judge of length alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from accorda.data.preferences.batch import PreferenceSegment
from accorda.data.preferences.dataset import PreferenceDataset
from accorda.data.preferences.renderer import PreferenceRenderer
from accorda.data.recorded import recorded
from accorda.errors import Refusal
from accorda.evaluation.bench import Line
from accorda.evaluation.evaluate import Metrics
from accorda.evaluation.measure import scored
from accorda.evaluation.metric import Metric
from accorda.evaluation.preferences.judge import judged, rows_of, segments_of
from accorda.evaluation.preferences.samples import asked, told
from accorda.evaluation.registry import OF_COMPARISONS, read_metrics, require_fitting
from accorda.evaluation.rows import as_source, dataset_of
from accorda.generation.progress import part
from accorda.methods.open import Opened
from accorda.methods.routing import use
from accorda.recipe.sections import DataSection
from accorda.training.comparing import Comparing
from accorda.training.rewarding import Rewarding
from accorda.training.session import Session

NUM_SAMPLES = 5
LONGER, TUNED = "longer answer", "tuned"


def report(
    opened: Opened,
    renderer: PreferenceRenderer,
    data: Any = None,
    metrics: Metrics = ("preference_accuracy",),
    *,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    batch_size: int = 8,
) -> dict[str, Any]:
    """Measure a reward model on compared answers; args and keys are those of `accorda.evaluation.report.report`.

    Raises:
        Refusal: metrics of something else; no data named and no run to take it from; rows that compare nothing.
    """
    read = read_metrics(metrics)
    require_fitting(read, OF_COMPARISONS)
    dataset = rows(opened, renderer, data, columns or {}, limit)
    segments = segments_of(dataset, limit)
    tied = next((segment for segment in segments if len(set(segment.ranks)) < 2), None)
    if tied is not None:
        raise Refusal(
            f"{tied.file}:{tied.line}: a reward model is measured on answers that are compared, not on thumbs"
        )
    with use(opened.model, opened.adapter_name), part(TUNED):
        found = judged(opened.model, Rewarding(opened.model), segments, batch_size=batch_size)
    return compared(dataset, renderer, segments, found, read)


def report_on_policy(
    session: Session,
    data: Any = None,
    metrics: Metrics = ("preference_accuracy",),
    *,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    batch_size: int = 8,
) -> dict[str, Any]:
    """Measure a run of stage preference, reopened, by the rewards that its algorithm sees in it; else as `report`.

    Raises:
        Refusal: metrics of something else; no rows named, and none that the run was evaluated with.
    """
    read = read_metrics(metrics)
    require_fitting(read, OF_COMPARISONS)
    dataset, renderer, objective = session.eval, session.renderer, session.objective
    assert isinstance(renderer, PreferenceRenderer)
    assert isinstance(objective, Comparing)
    if data is not None:
        section = replace(
            session.recipe.data, eval=as_source(data), columns=dict(columns or session.recipe.data.columns)
        )
        dataset = dataset_of(section, session.model, renderer, limit=limit, stage="preference")
    if dataset is None:
        raise Refusal("data: the run was evaluated with no rows; name a file with --data")
    assert isinstance(dataset, PreferenceDataset)
    segments = segments_of(dataset, limit)
    with part(TUNED):
        found = judged(session.model, objective, segments, batch_size=batch_size)
    return compared(dataset, renderer, segments, found, read)


def compared(
    dataset: PreferenceDataset,
    renderer: PreferenceRenderer,
    segments: Sequence[PreferenceSegment],
    found: Sequence[tuple[float, list[float]]],
    metrics: Mapping[str, Metric],
) -> dict[str, Any]:
    """What was found of the rows, beside what length alone says of those that compare; intervals are over prompts."""
    measured = scored(metrics, rows_of(segments, found))
    of_length = {name: metric for name, metric in metrics.items() if name == "preference_accuracy"}
    lines = []
    if of_length and all(len(segment.ranks) > 1 for segment in segments):
        lengths = [(0.0, [float(len(answer)) for answer in segment.answers]) for segment in segments]
        lines = [Line(LONGER, scored(of_length, rows_of(segments, lengths)))]
    return {
        "rows": [line.to_dict() for line in [*lines, Line(TUNED, measured)]],
        "metrics": [{"name": name, **note} for name, note in measured.notes.items()],
        "num_rows": len(segments),
        "data": dataset.report.rows,
        "samples": [
            {
                "prompt": asked(dataset.example(row)),
                "reference": renderer.completion_text(dataset.example(row)),
                "answers": {TUNED: told(dataset.example(row), found[row][1], dataset.answer_of(row))},
            }
            for row in range(min(NUM_SAMPLES, len(segments)))
        ],
    }


def rows(
    opened: Opened, renderer: PreferenceRenderer, data: Any, columns: Mapping[str, str], limit: int | None
) -> PreferenceDataset:
    """The rows that are named, read as in the run; else the run's own evaluation rows."""
    recipe = recorded(opened.run) if opened.run is not None else None
    if data is None and recipe is None:
        raise Refusal("data: no rows to evaluate with; name a file with --data")
    section, seed = (recipe.data, recipe.training.seed) if recipe is not None else (DataSection(), 0)
    if data is not None:
        section = replace(section, eval=as_source(data), columns=dict(columns) or section.columns)
    found = dataset_of(section, opened.model, renderer, limit=limit, stage="preference", seed=seed)
    assert isinstance(found, PreferenceDataset)
    return found

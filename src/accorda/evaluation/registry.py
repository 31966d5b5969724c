"""The metrics by name: one per file in `metrics/`, found by walking the folder."""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from accorda.errors import Refusal
from accorda.evaluation import metrics as folder
from accorda.evaluation.metric import Metric, Needs
from accorda.recipe.reader import read


@cache
def metrics() -> dict[str, type[Metric]]:
    """Every metric by the name of its file."""
    found: dict[str, type[Metric]] = {}
    for module in pkgutil.iter_modules(folder.__path__):
        loaded = importlib.import_module(f"{folder.__name__}.{module.name}")
        own = [value for value in vars(loaded).values() if _is_metric(value) and value.__module__ == loaded.__name__]
        found[module.name] = own[0]
    return found


def _is_metric(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Metric)


def read_metric(entry: str | Mapping[str, Any] | Metric) -> Metric:
    """A metric from its name, from {"name": ..., option: value}, or as it is.

    Raises:
        Refusal: for an unknown name or option, or a missing package.
    """
    if isinstance(entry, Metric):
        return entry
    options = {"name": entry} if isinstance(entry, str) else dict(entry)
    name = options.pop("name", None)
    if name not in metrics():
        close = difflib.get_close_matches(str(name), metrics(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(metrics())}"
        raise Refusal(f"metrics: no metric is called {name!r}; {hint}")
    return read(metrics()[name], options, at=f"metrics.{name}")


def read_metrics(entries: Iterable[str | Mapping[str, Any] | Metric]) -> dict[str, Metric]:
    """Metrics by name, in the order given. A text is read as names between commas."""
    names = [part.strip() for part in entries.split(",")] if isinstance(entries, str) else list(entries)
    read = [read_metric(entry) for entry in names]
    by_class = {cls: name for name, cls in metrics().items()}
    return {by_class.get(type(metric), type(metric).__name__): metric for metric in read}


OF_TEXT: tuple[Needs, ...] = ("likelihood", "generations")
OF_COMPARISONS: tuple[Needs, ...] = ("likelihood", "preferences")
SAYS = {
    "likelihood": "log-probabilities",
    "generations": "generated answers",
    "classes": "classes (stage classify)",
    "numbers": "predicted numbers (stage classify)",
    "preferences": "compared answers (stages reward and preference)",
}


def require_fitting(chosen: Mapping[str, Metric], has: Sequence[Needs] = OF_TEXT) -> None:
    """Refuse a metric of something that there is not; `has` is what the rows and the model's head allow."""
    for name, metric in chosen.items():
        if metric.needs not in has:
            fitting = ", ".join(known for known, cls in metrics().items() if cls.needs in has)
            raise Refusal(
                f"metrics: {name} is about {SAYS[metric.needs]}, which there are none of; there are {fitting}"
            )

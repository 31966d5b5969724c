"""Metrics of a model over rows: what `accorda.evaluate` is."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accorda.data.renderer import Renderer
from accorda.evaluation.measure import Measured, measure
from accorda.evaluation.metric import Metric
from accorda.evaluation.questions import Question, questions
from accorda.evaluation.registry import read_metrics
from accorda.evaluation.rows import dataset_of
from accorda.models.decoder_start import decoder_start

NUM_SAMPLES = 5
Metrics = str | Iterable[str | Mapping[str, Any] | Metric]


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: Any,
    metrics: Metrics,
    *,
    renderer: Renderer | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    **sampling: Any,
) -> dict[str, Any]:
    """Measure a model, with whatever adapters act now, on the device where it is.

    Args:
        model: a decoder or an encoder-decoder with its head.
        tokenizer: its tokenizer.
        data: a file, a list of rows, a recipe's data section (its evaluation rows), or a prepared `Dataset`.
        metrics: names (`perplexity, eval_loss, exact_match, f1, rouge, bleu, ...`), {"name": ..., option: value}, or
            metric objects.
        renderer: how rows become ids; a run's own is `Renderer.load(run, tokenizer)`. Default: the tokenizer's.
        limit: at most this many rows.
        batch_size: rows per forward.
        **sampling: fields of `Sampling` for metrics of generated answers; greedy by default.

    Returns:
        Every metric's value by name; "intervals" {name: [low, high]} (95%, bootstrap over rows); "notes" {name: what
        must be known to compare the value}; "num_rows"; "rows" (seen, kept, skipped, overlong); and, where answers were
        generated, "stop_rate" (share that the model itself ended) and "samples".

    Raises:
        Refusal: unknown metric or option, missing package, bad rows, no row that fits, wrong sampling settings.
    """
    read = read_metrics(metrics)
    renderer = renderer or Renderer(tokenizer, decoder_start=decoder_start(model))
    dataset = dataset_of(data, model, renderer, limit=limit)
    asked = questions(dataset, renderer, range(len(dataset) if limit is None else min(limit, len(dataset))))
    measured = measure(model, renderer, asked, read, batch_size=batch_size, sampling=sampling)
    return {
        **{name: found.value for name, found in measured.estimates.items()},
        "intervals": {name: [found.low, found.high] for name, found in measured.estimates.items()},
        "notes": measured.notes,
        "num_rows": len(asked),
        "rows": dataset.report.rows,
        **answers(asked, measured),
    }


def answers(asked: Sequence[Question], measured: Measured, number: int = NUM_SAMPLES) -> dict[str, Any]:
    """Stop rate and the first answers, where any were generated."""
    if not measured.completions:
        return {}
    shown = list(zip(asked, measured.completions, strict=True))[:number]
    return {
        "stop_rate": measured.stop_rate,
        "samples": [
            {"prompt": q.prompt, "reference": q.reference, "completion": c.text, "stopped": c.stopped} for q, c in shown
        ],
    }

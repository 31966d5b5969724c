"""Measure a run, an adapter or a model on rows: the base, the base shown examples, and the tuned one.

Without --data the rows are those the run was evaluated with. Every number has a 95% interval (bootstrap over rows).
Metrics of a model alone (a model folder, a hub id) are those of the base. Beside a classifier stand its commonest class
and a linear probe on the frozen base. A reward model and a run of stage preference judge compared answers, and so does
a rule that takes the longer one. A run of stage rl answers its held-out prompts again, and so does its reference; its
reward judges both.
"""

import argparse
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

from accorda.cli.terminal.columns import add_column, columns
from accorda.cli.terminal.counting import Counting
from accorda.cli.terminal.early import check_eval
from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.parser import filled, number, whole_number
from accorda.cli.terminal.sampling import add_base, base
from accorda.cli.terminal.table import cell, table
from accorda.errors import Refusal

OF_TEXTS = {"shots": 3, "max_new_tokens": 128, "temperature": 0.0, "seed": 0}
"""Options of answers that are written, and what each is where it was not given."""
ROWS_AT_ONCE = 8
COMPARED = "compared answers are judged, and none are written"
AS_TRAINED = "its base is opened as in training"
OF_THE_ROW = "row's own answer"  # where a model that others are compared with is called the reference
OF_PAIRS = "preference_accuracy,reward_margin"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the rows, the metrics, the examples, the sampling."""
    parser.add_argument("run", metavar="RUN", help="a run, an adapter folder, a model folder or a hub id")
    parser.add_argument("--data", metavar="F", type=filled, help="rows to measure with; default: the run's own")
    add_column(parser)
    says = (
        "names with commas: perplexity (default), eval_loss, exact_match, gsm8k_exact_match, f1, rouge, bleu; of a "
        "classifier: accuracy (default), f1_macro, matthews, eval_loss; of numbers: pearson, mean_absolute_error; "
        "of a reward model or a run of stage preference: preference_accuracy, reward_margin (default), eval_loss"
    )
    parser.add_argument("--metrics", metavar="M", type=filled, help=says)
    parser.add_argument("--shots", metavar="K", type=whole_number(0), help="examples to show the base; default: 3")
    parser.add_argument(
        "--train", metavar="F", type=filled, help="where examples come from; default: the run's training rows"
    )
    parser.add_argument("--limit", metavar="N", type=whole_number(1), help="at most the first N rows")
    says = "default: 128, of a run of stage rl its own"
    parser.add_argument("--max-new-tokens", metavar="N", type=whole_number(1), help=says)
    says = "default: 0, the likeliest token; of a run of stage rl its own"
    parser.add_argument("--temperature", metavar="X", type=number(0), help=says)
    parser.add_argument(
        "--best-of",
        metavar="N",
        type=whole_number(1),
        default=1,
        help="of a run of stage rl: a row for the best of N answers of the model of before; default: 1, no such row",
    )
    says = "draws examples and answers; default: 0, of a run of stage rl its own"
    parser.add_argument("--seed", metavar="N", type=whole_number(0), help=says)
    says = "rows at a time; default: 8, of a run of stage rl its own"
    parser.add_argument("--batch-size", metavar="N", type=whole_number(1), help=says)
    add_base(parser)


def run(arguments: argparse.Namespace) -> Outcome:
    """The report of three rows."""
    check_eval(arguments, columns(arguments.column))
    from accorda.evaluation.preferences.score import reward_renderer
    from accorda.evaluation.registry import read_metrics
    from accorda.evaluation.report import report
    from accorda.generation.progress import watched
    from accorda.methods.open import open_model
    from accorda.models.labels import is_classifier
    from accorda.training.threads import settle_threads

    if is_of_rl(arguments):
        return rewarded(arguments)
    if arguments.best_of > 1:
        raise Refusal(
            f"--best-of {arguments.best_of}: the reward chooses among answers, and {arguments.run} is no complete run "
            "of stage rl asked about its own prompts; leave it out, or --data and --metrics beside it"
        )
    if arguments.column and not (arguments.data or arguments.train):
        raise Refusal("--column: names columns of --data, which is not given")
    arguments.batch_size = arguments.batch_size or ROWS_AT_ONCE
    metrics = read_metrics(arguments.metrics or "perplexity")
    if (session := of_preference(arguments, metrics)) is not None:
        require_unset(arguments, (*OF_TEXTS, "train"), COMPARED)
        require_unset(arguments, base(arguments), f"{arguments.run} is of stage preference: {AS_TRAINED}")
        return preferring(arguments, session)
    opened = open_model(arguments.run, **base(arguments))
    settle_threads(opened.model)
    if (judge := reward_renderer(opened)) is not None:
        require_unset(arguments, (*OF_TEXTS, "train"), COMPARED)
        return rewarding(arguments, opened, judge)
    if is_classifier(opened.model):
        require_unset(arguments, OF_TEXTS, f"{arguments.run} is a classifier, which writes no answers")
        return labelled(arguments, opened)
    given = {name: getattr(arguments, name) for name in OF_TEXTS}
    sampled = OF_TEXTS | {name: value for name, value in given.items() if value is not None}
    with closing(Counting()) as count, watched(count):
        found = report(
            opened,
            arguments.data,
            metrics.values(),
            train=arguments.train,
            columns=columns(arguments.column),
            limit=arguments.limit,
            batch_size=arguments.batch_size,
            **sampled,
        )
    return Outcome(result={"model": arguments.run, **found}, text=told(found))


def require_unset(arguments: argparse.Namespace, names: Iterable[str], why: str) -> None:
    """Refuse options that would change nothing."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    for name in names:
        if (value := getattr(arguments, name)) != parser.get_default(name):
            said = "" if isinstance(value, bool) else f" {', '.join(value) if isinstance(value, list) else value}"
            flag = f"--{'no-' if value is False else ''}{name.replace('_', '-')}"
            raise Refusal(f"{flag}{said}: {why}; leave it out")


def is_of_rl(arguments: argparse.Namespace) -> bool:
    """Whether it is a run of stage rl, of which neither rows nor metrics are named: its reward is asked again."""
    from accorda.data.recorded import recorded
    from accorda.runs.layout import RunFolder

    folder = RunFolder(arguments.run)
    return not (arguments.data or arguments.metrics) and folder.is_complete() and recorded(folder).stage == "rl"


def rewarded(arguments: argparse.Namespace) -> Outcome:
    """The report on a run of stage rl by its own reward: the reference, tuned."""
    from accorda.rl.held_out import report
    from accorda.stages import reopen

    why = f"{arguments.run} is of stage rl: its prompts are answered as it answered them, and nobody is shown examples"
    require_unset(arguments, ("shots", "train", "column"), why)
    require_unset(arguments, base(arguments), f"{arguments.run} is of stage rl: {AS_TRAINED}")
    found = report(
        reopen(arguments.run),
        arguments.limit,
        arguments.best_of,
        max_new_tokens=arguments.max_new_tokens,
        temperature=arguments.temperature,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
    )
    return Outcome(result={"model": arguments.run, **found}, text=told(found))


def of_preference(arguments: argparse.Namespace, metrics: Mapping[str, Any]) -> Any:
    """The session of a run of stage preference, unless a metric of texts is named and none of compared answers."""
    from accorda.data.recorded import recorded
    from accorda.runs.layout import RunFolder

    folder = RunFolder(arguments.run)
    if not folder.is_complete() or recorded(folder).stage != "preference":
        return None
    needed = {metric.needs for metric in metrics.values()}
    of_texts = "generations" in needed or "perplexity" in metrics
    if arguments.metrics and of_texts and "preferences" not in needed:
        return None
    from accorda.stages import reopen

    return reopen(folder)


def preferring(arguments: argparse.Namespace, session: Any) -> Outcome:
    """The report on a run of stage preference: the longer answer, tuned."""
    from accorda.evaluation.preferences.report import report_on_policy
    from accorda.evaluation.registry import read_metrics
    from accorda.generation.progress import watched

    try:
        with closing(Counting()) as count, watched(count):
            found = report_on_policy(
                session,
                arguments.data,
                read_metrics(arguments.metrics or OF_PAIRS).values(),
                columns=columns(arguments.column),
                limit=arguments.limit,
                batch_size=arguments.batch_size,
            )
    except Refusal as refusal:
        if arguments.metrics not in (None, "eval_loss") or not arguments.data:
            raise
        raise Refusal(f"{refusal}; of rows that compare nothing: --metrics perplexity, or another of text") from None
    return Outcome(result={"model": arguments.run, **found}, text=told(found))


def labelled(arguments: argparse.Namespace, opened: Any) -> Outcome:
    """The report on a classifier: commonest class, linear probe, tuned."""
    from accorda.evaluation.labelled.report import report
    from accorda.evaluation.registry import read_metrics
    from accorda.generation.progress import watched
    from accorda.models.labels import Labels

    usual = "pearson" if Labels.of(opened.model.config).is_number else "accuracy"
    with closing(Counting()) as count, watched(count):
        found = report(
            opened,
            arguments.data,
            read_metrics(arguments.metrics or usual).values(),
            train=arguments.train,
            columns=columns(arguments.column),
            limit=arguments.limit,
            batch_size=arguments.batch_size,
        )
    return Outcome(result={"model": arguments.run, **found}, text=told(found))


def rewarding(arguments: argparse.Namespace, opened: Any, renderer: Any) -> Outcome:
    """The report on a reward model: the longer answer, tuned."""
    from accorda.evaluation.preferences.report import report
    from accorda.evaluation.registry import read_metrics
    from accorda.generation.progress import watched

    with closing(Counting()) as count, watched(count):
        found = report(
            opened,
            renderer,
            arguments.data,
            read_metrics(arguments.metrics or OF_PAIRS).values(),
            columns=columns(arguments.column),
            limit=arguments.limit,
            batch_size=arguments.batch_size,
        )
    return Outcome(result={"model": arguments.run, **found}, text=told(found))


def told(found: dict[str, Any]) -> str:
    """The table, what is to be known about it, and a few answers side by side."""
    parts = [numbers(found), *notes(found), *(side_by_side(sample) for sample in found["samples"][:3])]
    return "\n\n".join(part for part in parts if part)


def numbers(found: dict[str, Any]) -> str:
    """One line per row of the report; a value with its interval."""
    names = [metric["name"] for metric in found["metrics"]]
    heads = [
        f"{metric['name']} ({'higher' if metric['direction'] == 'higher' else 'lower'} is better)"
        for metric in found["metrics"]
    ]
    stops = any(row["stop_rate"] is not None for row in found["rows"])
    lines = [
        (row["name"], *(interval(row["metrics"].get(name)) for name in names), *([row["stop_rate"]] if stops else []))
        for row in found["rows"]
    ]
    return table(("", *heads, *(["stops"] if stops else [])), lines)


def interval(value: dict[str, float] | None) -> str | None:
    """`3.141 [3.01, 3.27]`."""
    return None if value is None else f"{value['value']:.4g} [{value['low']:.4g}, {value['high']:.4g}]"


def notes(found: dict[str, Any]) -> list[str]:
    """How many rows, what was left out, why a line is short or empty, and what makes the numbers comparable."""
    data = found["data"]
    left = [
        f"{data[name]} {says}" for name, says in (("skipped", "unreadable"), ("overlong", "too long")) if data[name]
    ]
    rows = f"{found['num_rows']} row" + ("" if found["num_rows"] == 1 else "s")
    told = [rows + (f" ({', '.join(left)} left out)" if left else "")]
    if known := data.get("trained_on"):
        told.append(
            f"{known} of them {'was' if known == 1 else 'were'} trained on, so what is measured was partly seen"
        )
    if found["num_rows"] == 1:
        told.append("one row: an interval drawn by resampling has no width and says nothing")
    told += [f"{row['name']}: {row['note']}" for row in found["rows"] if row["note"]]
    for metric in found["metrics"]:
        known = ", ".join(f"{key} {value}" for key, value in metric.items() if key not in ("name", "direction"))
        told += [f"{metric['name']}: {known}"] if known else []
    return ["\n".join(told)]


def side_by_side(sample: dict[str, Any]) -> str:
    """One question as it was asked, with everybody's answer on one line."""
    asked = [f"> {cell(line)}".rstrip() for line in sample["prompt"].strip().splitlines()]
    lines = list(sample["answers"].items())
    if sample["reference"].strip():
        lines.insert(0, ("reference" if "reference" not in sample["answers"] else OF_THE_ROW, sample["reference"]))
    width = max((len(name) for name, _ in lines), default=0)
    return "\n".join([*asked, *(f"  {name:<{width}}  {cell(text.strip())}" for name, text in lines)])

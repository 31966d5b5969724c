"""What a sweep prints: one line per run with its metrics and intervals, the base above them."""

from collections.abc import Mapping, Sequence
from typing import Any

from accorda.cli.terminal.facts import blocks
from accorda.cli.terminal.outcome import DONE, STOPPED, UNPROVEN, Outcome
from accorda.cli.terminal.table import table
from accorda.runs.figures import duration, size

Row = Mapping[str, Any]
CODES = {"complete": DONE, "unproven": UNPROVEN, "stopped": STOPPED}


def compared(record: Row) -> Outcome:
    """The outcome of a sweep: its table, where the picture is, and what stopped or is not proven."""
    result = {name: value for name, value in record.items() if name != "plan"}
    text = blocks([runs_table(record), about(record)])
    return Outcome(code=CODES[record["status"]], result=result, text=text, error=trouble(record))


def runs_table(record: Row) -> str:
    """Values, rows, steps, time, each metric with its interval, proofs."""
    settings = [axis["setting"] for axis in record["axes"]]
    names = columns(record["metrics"])
    head = (*settings, "rows", "steps", "time", *names, "proofs")
    base = [("base", *[""] * (len(settings) - 1), None, None, None, *(cells(record["base"], names)), None)]
    rows = [
        (
            *(str(row["values"][name]) for name in settings),
            row["rows"],
            row["steps"],
            None if row["train_seconds"] is None else duration(row["train_seconds"]),
            *cells(row["metrics"], names),
            verdicts(row),
        )
        for row in record["runs"]
    ]
    return table(head, [*(base if record["base"] else []), *rows])


def columns(metrics: Sequence[str]) -> list[str]:
    """The metrics that have a column: of ROUGE's three the last."""
    beside = {"rouge1", "rouge2"} if "rougeL" in metrics else set()
    return [name for name in metrics if name not in beside]


def cells(found: Mapping[str, Row], names: Sequence[str]) -> list[str | None]:
    """`0.81 [0.75, 0.86]` of each metric."""
    return [shown(found[name]) if name in found else None for name in names]


def shown(value: Row) -> str:
    """A value with its interval, where there is one."""
    bounds = "" if value["low"] is None else f" [{value['low']:.4g}, {value['high']:.4g}]"
    return f"{value['value']:.4g}{bounds}"


def verdicts(row: Row) -> str:
    """How the run stands."""
    if row["proofs"] is None:
        return str(row["status"])
    failing = f", {row['proofs']['fails']} fail" if row["proofs"]["fails"] else ""
    return f"{row['proofs']['holds']} hold{failing}"


def about(record: Row) -> str:
    """What must be known to compare, and where it all lies."""
    held_out = record["held_out"]
    lines = []
    if held_out["rows"]:
        same = "the same" if held_out["same"] else "NOT the same"
        lines += [
            f"evaluated on {held_out['rows']:,} held-out rows, {same} for every run; [95% intervals over those rows]"
        ]
    if record["metrics"]:
        lines += [f"picture: {record['output']}/sweep.svg, sweep.png"]
    return "\n".join([*lines, f"every run has its report in {record['output']}/*/report.html"])


def trouble(record: Row) -> str:
    """The error line: runs that stopped, or that are not proven."""
    stopped = [row for row in record["runs"] if row["status"] == "stopped"]
    if stopped:
        more = f" (and {len(stopped) - 1} more)" if stopped[1:] else ""
        go_on = f"continue with: accorda resume {record['output']}"
        return f"{stopped[0]['run']}{more}: {stopped[0]['reason']}; {go_on}"
    failed = [row["run"] for row in record["runs"] if row["status"] == "unproven"]
    return f"proofs fail in {', '.join(failed)}; see their reports" if failed else ""


def dry_runs(result: Row) -> Outcome:
    """The outcome of the checks before a sweep."""
    rows = [
        (
            row["run"],
            row["rows"]["rows"]["kept"],
            row["eval_rows"],
            row["steps"],
            row["trainable_parameters"],
            size(row["bill"]),
        )
        for row in result["runs"]
    ]
    head = ("run", "rows", "evaluation rows", "steps", "trained parameters", "memory bill")
    text = f"{table(head, rows)}\n\nnothing was trained and nothing was written"
    return Outcome(result=dict(result), text=text)

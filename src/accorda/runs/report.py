"""`report.html`: one page that shows a run, finished or not, without a network or a script; everything is escaped."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from accorda.runs.curves import chart
from accorda.runs.story import Story, is_number, tell

CHARTS = (  # title, unit, [(name of the line, event, key)]
    ("Loss", "per supervised token", [("training", "step", "loss"), ("evaluation", "evaluation", "eval_loss")]),
    ("Learning rate", "", [("learning rate", "step", "learning_rate")]),
    ("Gradient norm", "before clipping", [("gradient norm", "step", "grad_norm")]),
    ("Memory", "GB", [("memory", "step", "memory")]),
)
GENERATION = "per evaluation"
NOT_METRICS = {"step", "eval_loss", "seconds", "event"}


def report(path: str | Path, result: Mapping[str, Any] | None = None) -> str:
    """The whole page of a run folder; `result` where its result.json is not written yet."""
    story = tell(path, result)
    name = story.folder.path.resolve().name
    parts = [
        f"<h1>{escape(name)}</h1>",
        summary(story),
        section("Curves", curves(story)),
        section("Proofs", proofs(story)),
        section("Before and after", samples(story)),
        section("Memory", memory(story)),
        section("Settings", settings(story)),
        section("Environment", environment(story)),
    ]
    style = (files("accorda.runs") / "report.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(name)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<style>\n{style}</style></head>\n<body>\n" + "\n".join(part for part in parts if part) + "\n</body></html>\n"
    )


def section(title: str, body: str) -> str:
    """A heading and what stands under it; nothing where there is nothing to show."""
    return f"<h2>{escape(title)}</h2>\n{body}" if body else ""


def summary(story: Story) -> str:
    """What ran, how it ended, and the numbers somebody asks for first."""
    result = story.result
    status = result.get("status") or ("complete" if result else "not finished: this page shows what is there so far")
    what = ", ".join(filter(None, (story.setting("stage"), story.setting("method.name"), story.setting("model.path"))))
    tiles = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for name, value in numbers(story)
    )
    return (
        f'<p class="note">{escape(what)}</p><p class="note">{escape(str(status))}</p><div class="tiles">{tiles}</div>'
    )


def numbers(story: Story) -> list[tuple[str, str]]:
    """Name and value of the tiles."""
    result, losses = story.result, story.series("step", "loss")
    evaluations = story.series("evaluation", "eval_loss")
    rows = result.get("rows") or {}
    found = [
        ("steps", result.get("steps", losses[-1][0] if losses else None)),
        ("loss", result.get("loss", losses[-1][1] if losses else None)),
        ("evaluation loss before", evaluations[0][1] if len(evaluations) > 1 else None),
        ("evaluation loss", result.get("eval_loss", evaluations[-1][1] if evaluations else None)),
        ("tokens", result.get("tokens")),
        ("tokens per second", result.get("tokens_per_second")),
        ("trainable parameters", result.get("trainable_parameters")),
        ("rows left out", (rows.get("skipped") or 0) + (rows.get("overlong") or 0) if rows else None),
    ]
    return [(name, shown(value)) for name, value in found if is_number(value)]


def curves(story: Story) -> str:
    """The charts of what the event log has, metrics of the evaluations included."""
    charts = [(title, unit, list(lines)) for title, unit, lines in CHARTS]
    keys = {key: None for event in story.events if event.get("event") == "evaluation" for key in event}
    charts += [(key, GENERATION, [(key, "evaluation", key)]) for key in keys if key not in NOT_METRICS]
    drawn = []
    for title, unit, lines in charts:
        factor = 1e-9 if unit == "GB" else 1.0
        series = [(name, [(x, y * factor) for x, y in story.series(kind, key)]) for name, kind, key in lines]
        drawn.append(chart(title, unit, series))
    return f'<div class="charts">{"".join(drawn)}</div>' if any(drawn) else ""


def proofs(story: Story) -> str:
    """Every proof with its verdict, reason and, folded, its evidence."""
    rows = []
    for proof in story.proofs:
        verdict = str(proof.get("verdict"))
        kind = verdict if verdict in ("holds", "fails") else "other"
        evidence = json.dumps(shortened(proof.get("evidence") or {}), indent=1, ensure_ascii=False)
        folded = f"<details><summary>evidence</summary><pre>{escape(evidence)}</pre></details>"
        reason = escape(str(proof.get("reason") or "")) + folded
        rows.append((escape(str(proof.get("name"))), f'<span class="{kind}">{escape(verdict)}</span>', reason))
    return table(("proof", "verdict", "reason"), rows)


def shortened(value: Any, most: int = 12) -> Any:
    """Evidence without the rest of long lists and mappings: a big model has thousands of tensors."""
    if isinstance(value, dict):
        kept = {key: shortened(item, most) for key, item in list(value.items())[:most]}
        return kept | ({"...": f"{len(value) - most} more in proof.json"} if len(value) > most else {})
    if isinstance(value, list):
        return [shortened(item, most) for item in value[:most]] + (
            [f"... {len(value) - most} more in proof.json"] if len(value) > most else []
        )
    return value


def samples(story: Story) -> str:
    """The same prompts answered at the first and at the last time samples were drawn."""
    drawn = [event for event in story.events if isinstance(event.get("samples"), list) and event["samples"]]
    if not drawn:
        return ""
    first = {item.get("prompt"): item for item in drawn[0]["samples"] if isinstance(item, dict)}
    rows = []
    for item in drawn[-1]["samples"]:
        if isinstance(item, dict):
            before = first.get(item.get("prompt"), {}) if len(drawn) > 1 else {}
            rows.append([item.get("prompt"), item.get("reference"), before.get("completion"), item.get("completion")])
    head = ("prompt", "reference", f"step {drawn[0].get('step')}", f"step {drawn[-1].get('step')}")
    return table(head, [[f'<div class="text">{escape(str(value or ""))}</div>' for value in row] for row in rows])


def memory(story: Story) -> str:
    """The bill made before the run against the peak that was measured."""
    wanted = (("bill", story.result.get("bill_bytes")), ("measured peak", story.result.get("peak_memory_bytes")))
    found = [(name, value) for name, value in wanted if is_number(value) and value > 0]
    if not found:
        return ""
    most = max(value for _, value in found)
    bars = "".join(
        f'{escape(name)}: {value / 1e9:.3f} GB<div class="bar"><i style="width:{100 * value / most:.1f}%"></i></div>'
        for name, value in found
    )
    if len(found) < len(wanted):
        return bars
    (_, bill), (_, peak) = found
    return f'{bars}<p class="note">the bill was off by {100 * (bill - peak) / peak:+.1f} %</p>'


def settings(story: Story) -> str:
    """Every setting as used, with where it came from."""
    rows = [(escape(item.name), f"<code>{escape(item.value)}</code>", escape(item.origin)) for item in story.settings]
    return table(("setting", "value", "from"), rows)


def environment(story: Story) -> str:
    """Versions, hardware and whatever else the run recorded about where it ran."""
    rows = [(escape(name), f"<code>{escape(value)}</code>") for name, value in flat(story.environment)]
    return table(("what", "value"), rows)


def flat(values: dict[str, Any], at: str = "") -> list[tuple[str, str]]:
    """Nested values by dotted name."""
    found = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += flat(value, f"{at}{key}.")
        else:
            found.append((f"{at}{key}", value if isinstance(value, str) else json.dumps(value)))
    return found


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already; empty where there are no rows."""
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    if not body:
        return ""
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    return f'<div class="scroll"><table><tr>{titles}</tr>\n{body}</table></div>'


def shown(value: float) -> str:
    """A number for people."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"

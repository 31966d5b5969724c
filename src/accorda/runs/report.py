"""`report.html`: one page that shows a run, finished or not, without a network or a script; everything is escaped."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from accorda.runs.markup import section, text
from accorda.runs.sections import charts, health, samples
from accorda.runs.sections.data import data
from accorda.runs.sections.headline import headline
from accorda.runs.sections.memory import memory
from accorda.runs.sections.onwards import onwards
from accorda.runs.sections.parents import parents
from accorda.runs.sections.proofs import proofs
from accorda.runs.sections.settings import settings
from accorda.runs.sections.spent import spent
from accorda.runs.sections.surroundings import surroundings
from accorda.runs.story import Story, tell

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
PROVEN = "Evidence collected while the run went and from its files; accorda verify draws it again."


def report(path: str | Path, result: Mapping[str, Any] | None = None) -> str:
    """The whole page of a run folder; `result` where its result.json is not written yet."""
    story = tell(path, result)
    parts = {name: (title, section(name, title, body, lead)) for name, title, body, lead in contents(story) if body}
    links = "".join(f'<a href="#{name}">{text(title)}</a>' for name, (title, _) in parts.items())
    style = (files("accorda.runs") / "report.css").read_text(encoding="utf-8")
    body = "\n".join(html for _, html in parts.values())
    title = text(story.folder.path.resolve().name)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title} - accorda</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n<style>\n{style}</style></head>\n'
        f"<body>\n{headline(story)}\n<nav>{links}</nav>\n<main>\n{body}\n</main>\n</body></html>\n"
    )


def contents(story: Story) -> list[tuple[str, str, str, str]]:
    """Anchor, title, body and leading words of every section; the bodies of some are empty."""
    return [
        ("samples", "Before and after", samples.samples(story), samples.lead(story)),
        ("curves", "Curves", charts.charts(story), charts.lead(story)),
        ("health", "Health", health.health(story), health.LEAD),
        ("proofs", "Proofs", proofs(story), PROVEN),
        ("memory", "Memory", memory(story), ""),
        ("time", "Where the time went", spent(story), ""),
        ("data", "Data", data(story), ""),
        ("settings", "Settings", settings(story), ""),
        ("parents", "What differs from its parent", parents(story), ""),
        ("environment", "Environment", surroundings(story), ""),
        ("onwards", "Go on", onwards(story), ""),
    ]

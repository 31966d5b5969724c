"""Tell what two runs do not have in common: settings, data, environment."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.table import table
from accorda.errors import Refusal

SAME = "the same settings, data and environment"
OPTIMIZERS = Path(__file__).resolve().parents[1] / "training" / "optimizers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Two runs."""
    parser.add_argument("runs", nargs=2, metavar="RUN", help="two runs, finished or not")


def run(arguments: argparse.Namespace) -> Outcome:
    """One line per difference."""
    from accorda.runs.differences import differences
    from accorda.runs.layout import RunFolder
    from accorda.runs.story import tell, told_broken

    folders = [Path(path).expanduser() for path in arguments.runs]
    for folder in folders:
        if not RunFolder(folder).is_run():
            raise Refusal(f"{folder}: no run here (a run folder holds recipe.yaml); list them with: accorda runs")
    stories = [tell(folder) for folder in folders]
    found = differences(*map(settled, stories))
    broken = [file for story in stories for file in story.broken]
    rows = [(item.what, item.name, item.old, item.new) for item in found]
    one, other = map(str, folders)
    return Outcome(
        result={"runs": [one, other], "differences": [vars(item) for item in found], "broken": broken},
        text="\n".join([table(("", "name", one, other), rows) if rows else SAME, *told_broken(broken)]),
    )


def settled(story: Any) -> Any:
    """The run with the optimizer that its recipe leaves open: a recipe names of it only what was set."""
    from accorda.methods.outline import settings_in
    from accorda.recipe.sections import TrainingSection
    from accorda.recipe.write import flow
    from accorda.runs.story import Setting

    at, known = "training.optimizer", {setting.name for setting in story.settings}
    name = story.setting(f"{at}.name", TrainingSection().optimizer["name"])
    values: dict[str, Any] = {"name": name}
    file = OPTIMIZERS / f"{name}.py"
    if file.is_file() and "(Settings):" in file.read_text(encoding="utf-8"):  # else what it derives from says more
        values |= {setting.name: setting.default for setting in settings_in(file, ("Settings",))}
    told = [
        Setting(name=f"{at}.{key}", value=flow(value), origin="default")
        for key, value in values.items()
        if f"{at}.{key}" not in known
    ]
    return replace(story, settings=[*story.settings, *told]) if story.settings else story

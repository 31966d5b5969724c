"""Pages that the code writes: one per method, stage and command, and the index of each. A hook of mkdocs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

HERE = Path(__file__).resolve().parent


def pages() -> dict[str, dict[str, str]]:
    """Section title -> page path -> Markdown."""
    return {"Methods": method_pages(), "Stages": stage_pages(), "Commands": command_pages()}


def method_pages() -> dict[str, str]:
    """What every method's file says of itself, its settings and its promises."""
    from accorda.cli.methods import about, entry, promises, settings_table
    from accorda.methods.outline import methods

    found, rows = {}, []
    for name, method in methods().items():
        facts = entry(name, method)
        rows.append(f"| [{name}]({name}.md) | {facts['family']} | {facts['kind']} | {facts['paper']} |")
        text = f"# {name}\n\n```text\n{about(method)}\n```\n\n## Settings\n\n```text\n{settings_table(method)}\n```\n\n"
        found[f"methods/{name}.md"] = text + f"## Promises\n\n{promises(facts['traits'])}\n"
    index = "# Methods\n\n| method | family | kind | paper |\n| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n"
    return {"methods/index.md": index, **found}


def stage_pages() -> dict[str, str]:
    """The docstring of every stage and the recipe that `accorda init` would write for it."""
    import inspect

    from accorda.stages import sft
    from accorda.stages.contract import stages

    package = sft.__name__.rpartition(".")[0]
    found = {}
    for name in sorted(stages()):
        text = inspect.cleandoc(sys.modules[f"{package}.{name}"].__doc__ or "")
        found[f"stages/{name}.md"] = f"# {name}\n\n{text}\n"
    return found


def command_pages() -> dict[str, str]:
    """The help of every command, as a user sees it."""
    from accorda.cli.main import verbs

    found = {}
    for verb in verbs():
        shown = subprocess.run(
            [sys.executable, "-m", "accorda", verb, "--help"], capture_output=True, text=True, check=True
        )
        found[f"commands/{verb}.md"] = f"# accorda {verb}\n\n```text\n{shown.stdout.rstrip()}\n```\n"
    return found


def on_config(config: Any) -> Any:
    """Put the written pages, and the decisions that lie in their folder, into the navigation."""
    made = pages()
    config["extra"]["written"] = {path: text for section in made.values() for path, text in section.items()}
    decisions = sorted(path.relative_to(HERE).as_posix() for path in (HERE / "decisions").glob("*.md"))
    listed = {title: list(section) for title, section in made.items()} | {"Decisions": decisions}
    config["nav"] = [
        {title: listed[title]} if (title := next(iter(item))) in listed else item for item in config["nav"]
    ]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the written pages."""
    for path, text in config["extra"]["written"].items():
        files.append(File.generated(config, path, content=text))
    return files

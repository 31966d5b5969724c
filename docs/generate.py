"""Pages that the code writes: settings, Python names, and one per method, stage and command. A hook of mkdocs."""

import dataclasses
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File
from page_text import docstring, escaped, linked, prose, table, wrapped, wrapped_signature

HERE = Path(__file__).resolve().parent
TRAITS = {  # trait -> value -> what it means to a user
    "mergeable": {True: "merges into the base's weights", False: "never merges: the model keeps it beside the base"},
    "identity_at_init": {
        "exact": "starts as the base, bit for bit",
        "near": "starts near the base",
        "no": "does not start as the base",
    },
    "quantized_base": {True: "works on an int8 or nf4 base (QLoRA)", False: "needs a base that is not quantised"},
    "stochastic": {True: "draws while it trains, even without dropout"},
    "needs_attention": {True: "needs accorda's attention function, which some models cannot run"},
    "training_only_part": {True: "a part of it is for training only: what is saved is what that part gave"},
}


def pages() -> dict[str, dict[str, str]]:
    """Section title -> page path -> Markdown."""
    return {
        "Methods": method_pages(),
        "Stages": stage_pages(),
        "Commands": command_pages(),
        "Settings": {"settings.md": settings_page()},
        "Python": {"python.md": python_page()},
    }


def method_pages() -> dict[str, str]:
    """What every method's file says of itself, its settings, its promises, and its size on a 7B model."""
    from accorda.methods.outline import methods
    from accorda.methods.registry import methods as classes

    large = seven_billion()
    found, rows = {}, []
    for name, outline in methods().items():
        trained = classes()[name]().num_parameters(large).trained
        what, merges = outline.about.partition(":")[0], "yes" if outline.traits["mergeable"] else "no"
        size = f"{trained / 1e6:,.2f} M"
        rows.append((f"[{name}]({name}.md)", what, outline.family, merges, size, linked(outline.paper)))
        found[f"methods/{name}.md"] = method_page(outline, trained)
    head = ("method", "what", "family", "merges", "trained of 7B", "paper")
    index = f"# Methods\n\n{table(head, rows)}\n\nThe counts are for {SEVEN} with each method's default settings.\n"
    return {"methods/index.md": index, **found}


SEVEN = "a Llama of 6.74 billion parameters (32 blocks of width 4,096)"


def seven_billion() -> Any:
    """The model that sizes are told for: shapes only."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        return LlamaForCausalLM(LlamaConfig())


def method_page(outline: Any, trained: int) -> str:
    """One method: the head of its file as prose with its formulas, a command, settings, promises."""
    name = outline.name
    command = f"accorda train --model bundled --data bundled:tickets --method {name} --output runs/{name}"
    parts = [
        f"# {name}",
        prose(outline.about),
        f"## Use\n\n```sh\n{command}\n```",
        f"## Settings\n\n{method_settings(outline)}",
        f"## Promises\n\n{promises(outline.traits)}",
        f"## Size\n\n{trained:,} parameters train on {SEVEN} with the settings above.",
    ]
    return "\n\n".join(parts) + "\n"


def method_settings(outline: Any) -> str:
    """Every setting with its default, what it accepts and what it means."""
    from accorda.recipe.words import shown

    rows = [
        (f"`{item.name}`", f"`{shown(item.default)}`", item.accepts, escaped(item.says)) for item in outline.settings
    ]
    where = "In the section `method` of a recipe, or as `method.NAME=VALUE` on the command line."
    return f"{where}\n\n{table(('setting', 'default', 'accepts', 'what'), rows)}" if rows else "None."


def promises(traits: Mapping[str, Any]) -> str:
    """The traits as sentences; the contract suite checks each of them both ways."""
    says = [TRAITS[name][value] for name, value in traits.items() if name in TRAITS and value in TRAITS[name]]
    says.append(f"for {', '.join(kind.replace('_', '-') for kind in traits['architectures'])} models")
    return "\n".join(f"- {line}" for line in says)


def stage_pages() -> dict[str, str]:
    """The head of every stage's file, its learning rates and the recipe that `accorda init` writes for it."""
    from accorda.stages import sft
    from accorda.stages.contract import stages

    package = sft.__name__.rpartition(".")[0]
    found = {}
    for name in sorted(stages()):
        text = prose(inspect.cleandoc(sys.modules[f"{package}.{name}"].__doc__ or ""))
        parts = [
            f"# {name}",
            text,
            f"```sh\naccorda init {name}\n```",
            "writes a recipe with a sentence about every setting; the same as a table: [Settings](../settings.md).",
            "## Learning rates",
            "What `training.learning_rate: auto` means at this stage, and where the number is from:",
            rates(name),
        ]
        found[f"stages/{name}.md"] = "\n\n".join(parts) + "\n"
    return found


def rates(stage: str) -> str:
    """The learning rates that are known for a stage."""
    from accorda.methods.outline import relatives
    from accorda.recipe.rates import borrowed, learning_rates

    known, kin = learning_rates(), relatives()
    sizes = [(known[size]["most_parameters"], known[size]["rates"].get(stage, {})) for size in ("small", "middle")]
    rows = [
        (name, words, f"{entry['rate']:g}", entry["origin"])
        for number, entries in [*sizes, (sys.maxsize, known["published"].get(stage, {}))]
        for words in ("larger" if number == sys.maxsize else f"up to {number / 1e6:g}M parameters",)
        for name, entry in sorted(borrowed(known, stage, number, entries, kin).items())
    ]
    return table(("method", "models", "rate", "from"), rows) if rows else "None; give one with `--lr`."


def command_pages() -> dict[str, str]:
    """Every command from its own argument parser: what it does, how it is called, what it takes."""
    from accorda.cli.main import load, parser, verbs

    found, rows = {}, []
    for verb in verbs():
        made = parser(verb, load(verb))
        first, _, rest = (made.description or "").partition("\n")
        rows.append((f"[{verb}]({verb}.md)", first))
        usage = re.sub(r"\s+", " ", made.format_usage()).removeprefix("usage: ").strip()
        parts = [f"# accorda {verb}", escaped(first), prose(rest), f"```text\n{wrapped(usage)}\n```", options(made)]
        found[f"commands/{verb}.md"] = "\n\n".join(parts) + "\n"
    says = "Every command takes `--json`: one JSON object on standard output, nothing else. Exit codes stand in"
    index = (
        f"# Commands\n\n{table(('command', 'does'), rows)}\n\n{says} [the run folder](../run-folder.md#exit-codes).\n"
    )
    return {"commands/index.md": index, **found}


def options(parser: Any) -> str:
    """The arguments and flags of a parser as a table."""
    rows = []
    for action in parser._actions:
        name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        value = f" {action.metavar}" if action.option_strings and action.metavar and action.nargs != 0 else ""
        rows.append((f"`{name}{value}`", escaped(action.help or "")))
    return table(("argument", "what"), rows)


def settings_page() -> str:
    """Every setting of a recipe: its default, what it accepts, what it means."""
    from accorda.recipe.explain import SAYS
    from accorda.recipe.reader import hints, nested, settings
    from accorda.recipe.sections import Recipe

    text = "# Settings of a recipe\n\n`accorda init STAGE` writes a recipe with all of them; the command line takes "
    text += "`KEY.PATH=VALUE`.\n"
    for section in settings(Recipe):
        if not nested(hints(Recipe)[section.name]):
            continue
        cls, rows = hints(Recipe)[section.name], []
        for item in settings(cls):
            name = f"{section.name}.{item.name}"
            rows.append(
                (f"`{item.name}`", f"`{plainly(item)}`", accepted(hints(cls)[item.name]), escaped(SAYS.get(name, "")))
            )
        text += f"\n## {section.name}\n\n{table(('setting', 'default', 'accepts', 'what'), rows)}\n"
    rest = [(f"`{name}`", escaped(SAYS[name])) for name in ("stage", "output")]
    text += f"\n## At the top\n\n{table(('setting', 'what'), rest)}\n\nThe section `method` has the "
    return text + "settings of the method it names: see [Methods](methods/index.md).\n"


def plainly(item: Any) -> str:
    """A setting's default as a recipe holds it."""
    from accorda.recipe.words import shown

    default = item.default_factory() if item.default is dataclasses.MISSING else item.default
    return shown(list(default) if isinstance(default, tuple) else default)


def accepted(annotation: Any) -> str:
    """What a setting accepts; sources are told in a page of their own."""
    from accorda.recipe.sources import Sources
    from accorda.recipe.words import described

    return "a source of [rows](data.md)" if annotation == Sources else described(annotation)


def python_page() -> str:
    """The public functions, from their docstrings."""
    import accorda

    text = "# Python\n\n`import accorda` loads torch only when a name is used. Classes of methods are public by their "
    text += "names: `accorda.LoRA(rank=8)`, see [Methods](methods/index.md).\n"
    for name in sorted(accorda.PUBLIC):
        found = getattr(accorda, name)
        signature = wrapped_signature(name, inspect.signature(found))
        text += f"\n## {name}\n\n```python\n{signature}\n```\n\n{docstring(inspect.getdoc(found) or '')}\n"
    return text


def filled(nav: Sequence[Any], listed: Mapping[str, list[Any]]) -> list[Any]:
    """The navigation with every empty section filled by the pages that are written or found for it."""
    out = []
    for item in nav:
        title, inner = next(iter(item.items()))
        if inner == [] and title in listed:
            paths = listed[title]
            out.append({title: paths[0] if len(paths) == 1 else paths})
        else:
            out.append({title: filled(inner, listed)} if isinstance(inner, list) else item)
    return out


def on_config(config: Any) -> Any:
    """Put the written pages, and the decisions that lie in their folder, into the navigation."""
    made = pages()
    config["extra"]["written"] = {path: text for section in made.values() for path, text in section.items()}
    decisions = sorted(path.relative_to(HERE).as_posix() for path in (HERE / "decisions").glob("*.md"))
    config["nav"] = filled(
        config["nav"], {title: list(section) for title, section in made.items()} | {"Decisions": decisions}
    )
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the written pages."""
    for path, text in config["extra"]["written"].items():
        files.append(File.generated(config, path, content=text))
    return files

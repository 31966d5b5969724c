"""List the fine-tuning methods with what each promises, or show one with its settings."""

import argparse
from collections.abc import Mapping
from typing import Any

from accorda.cli.terminal.facts import counted
from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.parser import filled
from accorda.cli.terminal.table import table
from accorda.errors import Refusal
from accorda.recipe.words import choice, shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One name, or none for all, and a model to count on."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="one method: its formula and its settings")
    parser.add_argument(
        "--model", metavar="M", type=filled, help="count the parameters of each, or of NAME, on this model"
    )


def run(arguments: argparse.Namespace) -> Outcome:
    """The registry, or one entry of it."""
    from accorda.methods.outline import methods

    known = methods()
    if arguments.name is None:
        return listing(known) if arguments.model is None else counted_listing(known, arguments.model)
    if arguments.name not in known:
        raise Refusal(f"NAME = {shown(arguments.name)}: no such method{choice(arguments.name, known)}")
    method = known[arguments.name]
    found = entry(arguments.name, method)
    text = f"{about(method)}\n\n{settings_table(method)}\n\n{promises(found['traits'])}"
    if arguments.model is not None:
        found["parameters"] = count(arguments.name, hollow(arguments.model))
        text += f"\n\non {arguments.model}: {counted(found['parameters'])}"
    return Outcome(result={"methods": [found]}, text=text)


def listing(known: Mapping[str, Any]) -> Outcome:
    """Every method on a line."""
    entries = [entry(name, method) for name, method in known.items()]
    rows = [(item["name"], item["family"], item["kind"], promises(item["traits"]), item["paper"]) for item in entries]
    return Outcome(result={"methods": entries}, text=table(("name", "family", "kind", "promises", "paper"), rows))


def counted_listing(known: Mapping[str, Any], model: str) -> Outcome:
    """Every method on a line with its counts on a model; beneath, why some do not fit it."""
    bare = hollow(model)
    whole = sum(parameter.numel() for parameter in bare.parameters())
    entries, rows, misfits = [], [], []
    for name, method in known.items():
        found = entry(name, method)
        trained = kept = share = "-"
        try:
            found["parameters"] = count(name, bare)
        except Refusal as refusal:
            found |= {"parameters": None, "refused": str(refusal)}
            misfits.append(f"{name}: {refusal}")
        else:
            numbers = found["parameters"]
            trained, kept = f"{numbers['trained']:,}", f"{numbers['kept']:,}"
            share = f"{numbers['trained'] / whole:.2%}"
        entries.append(found)
        rows.append((name, method.family, trained, kept, share, promises(found["traits"]), found["paper"]))
    lines = [table(("name", "family", "trained", "kept", "of the model", "promises", "paper"), rows)]
    lines += ["", f"{model}: {whole:,} parameters; counted with each method's defaults", *misfits]
    return Outcome(result={"methods": entries, "model": model, "num_parameters": whole}, text="\n".join(lines))


def entry(name: str, method: Any) -> dict[str, Any]:
    """What `--json` tells of a method, from its outline."""
    return {
        "name": name,
        "family": method.family,
        "kind": method.kind,
        "traits": method.traits,
        "paper": method.paper,
        "defaults": method.defaults,
    }


def promises(traits: dict[str, Any]) -> str:
    """Traits as words, in the order they are declared."""
    words = []
    for name, value in traits.items():
        if name == "architectures":
            words += ["/".join(value)] if len(value) < 3 else []
        elif isinstance(value, bool):
            words += [name] if value else []
        else:
            words.append(f"{name}={value}")
    return ", ".join(words)


def about(method: Any) -> str:
    """The docstring of the method's file: title, source, formula, how it starts, deviations."""
    return method.about


def settings_table(method: Any) -> str:
    """Every setting with its default, what it accepts and what it means."""
    rows = [(item.name, shown(item.default), item.accepts, item.says) for item in method.settings]
    return table(("setting", "default", "accepts", "meaning"), rows) if rows else "no settings"


def hollow(model: str) -> Any:
    """The named model on the meta device: shapes alone, no weight is read."""
    from accorda.methods.open import head_of, locate
    from accorda.models.configuration import head_for
    from accorda.models.load import load_model

    base = locate(model).base
    return load_model(base, head=head_of(model) or head_for(base), device="meta")


def count(method: str, model: Any) -> dict[str, int]:
    """Numbers of trained, kept and head parameters on a model, with the method's defaults."""
    import dataclasses

    from accorda.methods.registry import methods

    return dataclasses.asdict(methods()[method]().num_parameters(model))

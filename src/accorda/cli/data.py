"""Look at data before training: format, columns, lengths, what is cut, what is learned, what repeats.

`accorda data check FILE --model M` reads the rows as a run would, with the tokenizer and template of M. Settings of
the recipe's data section may be given as KEY.PATH=VALUE, for example data.max_length=512. Rows that `train` would
refuse end it with exit code 2, as they would end the run; what was found is told all the same.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from accorda.cli.terminal.columns import add_column, columns
from accorda.cli.terminal.early import check_rows
from accorda.cli.terminal.facts import blocks, facts, lengths, places, sources
from accorda.cli.terminal.outcome import DONE, REFUSED, Outcome
from accorda.cli.terminal.parser import filled
from accorda.errors import Refusal
from accorda.recipe.sources import Source
from accorda.recipe.words import meant, several, shown

ACTIONS = ("check",)
STAGES = ("sft", "pretrain", "classify", "reward", "preference", "rl")
COMPARED = ("reward", "preference")
NONE_LEFT = "no row is left to train on"
ANSWER = 128  # tokens of an answer that prompts leave room for, where the recipe does not say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, with which files, for which model."""
    parser.add_argument("action", metavar="check", help="the one thing to do with data so far")
    parser.add_argument("files", nargs="*", metavar="FILE|KEY.PATH=VALUE", help="files, folders or hf:owner/name:split")
    parser.add_argument("--model", metavar="M", type=filled, help="whose tokenizer and template (required)")
    parser.add_argument(
        "--stage", metavar="S", type=filled, help="sft (default), pretrain, classify, reward, preference or rl"
    )
    add_column(parser)


def run(arguments: argparse.Namespace) -> Outcome:
    """Read the rows, count, and show a few as the model would see them."""
    from accorda.recipe.load import load

    if arguments.action not in ACTIONS:
        raise Refusal(f"data {shown(arguments.action)}: no such verb{meant(arguments.action, ACTIONS)}")
    files = [item for item in arguments.files if "=" not in item or os.path.exists(item)]
    if not files:
        raise Refusal("FILE: missing; name the rows to check")
    if arguments.model is None:
        raise Refusal("--model: missing; name the model whose tokenizer will read the rows")
    recipe = load(None, [item for item in arguments.files if item not in files], settings(arguments))
    if recipe.stage not in STAGES:
        raise Refusal(f"stage = {recipe.stage}: data is checked for {', '.join(STAGES)}")
    check_rows(replace(recipe.data, train=tuple(Source(path=file) for file in files)))
    return checked(files, recipe, arguments.model)


def checked(files: list[str], recipe: Any, model_name: str) -> Outcome:
    """What a run would find in rows that are there, and whether it would take them."""
    from accorda.methods.open import locate
    from accorda.models.configuration import head_for
    from accorda.models.load import load_model, load_tokenizer
    from accorda.stages.settle import settle_length

    base, code = locate(model_name).base, recipe.model.trust_remote_code
    head = head_for(base) if recipe.stage == "classify" else "language"
    model = load_model(base, head=head, device="meta", trust_remote_code=code)
    recipe = settle_length(recipe, model)
    found = report(files, load_tokenizer(base, code), recipe, model)
    refused = refusal(found, recipe.data)
    return Outcome(code=REFUSED if refused else DONE, result=found, text=told(found), error=refused)


def report(files: list[str], tokenizer: Any, recipe: Any, model: Any) -> dict[str, Any]:
    """What a run of this stage would find."""
    from accorda.data.check import check
    from accorda.data.labelled.check import check_labelled
    from accorda.data.preferences.check import check_preferences
    from accorda.models.decoder_start import decoder_start

    section, length = recipe.data, recipe.data.max_length
    if recipe.stage == "classify":
        kind = recipe.algorithm.get("labels", "auto")
        return check_labelled(files, tokenizer, section, max_length=length, kind=kind)
    if recipe.stage == "rl":
        length -= recipe.rollout.get("max_new_tokens", ANSWER)
    if recipe.stage in COMPARED:
        return check_preferences(files, tokenizer, section, max_length=length, color=coloured())
    return check(
        files,
        tokenizer,
        section,
        max_length=length,
        stage=recipe.stage,
        color=coloured(),
        decoder_start=decoder_start(model),
    )


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The flags by the dotted names of their settings."""
    flags = {f"data.columns.{ours}": theirs for ours, theirs in columns(arguments.column).items()}
    return flags | {"model.path": arguments.model, **({"stage": arguments.stage} if arguments.stage else {})}


def refusal(found: Mapping[str, Any], section: Any) -> str:
    """Why a run would refuse these rows, empty where it would take them."""
    from accorda.data.overlong import QUARTER

    rows = found["rows"]
    fitting = rows["kept"] + rows["overlong"]
    if rows["skipped"] and section.on_bad_row == "error":
        return f"{several(rows['skipped'], 'row')} cannot be read; mend them or say data.on_bad_row=skip"
    if rows["overlong"] and (
        section.overlong == "error" or (section.overlong == "auto" and rows["overlong"] > QUARTER * fitting)
    ):
        some = f"{rows['overlong']} of {several(fitting, 'row')} {'does' if rows['overlong'] == 1 else 'do'} not fit"
        ways = "skip" if "preferences" in found else "skip, truncate_prompt or truncate"
        return f"{some}; say data.overlong={ways}"
    return "" if rows["kept"] else none_left(found)


def none_left(found: Mapping[str, Any]) -> str:
    """Why no row is left where those that cannot be learned from are left out."""
    rows, files = found["rows"], ", ".join(source["file"] for source in found["sources"])
    why = [f"{rows['skipped']} cannot be read"] if rows["skipped"] else []
    why += [f"{rows['overlong']} do not fit in {found['max_length']} tokens"] if rows["overlong"] else []
    return f"{files}: {NONE_LEFT}: of {several(rows['seen'], 'row')} {' and '.join(why)}; mend them, or name other data"


def told(found: Mapping[str, Any]) -> str:
    """All of it for people."""
    about = [("rows are", found["kind"]), ("template", found["template"]), *lengths(found)]
    if found["labels"] is not None:
        about.append(("labels", ", ".join(f"{name} {number:,.6g}" for name, number in found["labels"].items())))
    if (judged := found.get("preferences")) is not None:
        about += preferences(judged)
    about.append(("repeated rows", found["duplicates"]["rows"]))
    warnings = "\n".join(f"! {warning}" for warning in found["warnings"] if warning != NONE_LEFT)
    return blocks([sources(found), facts(about), places(found), warnings, found["sample"]])


def preferences(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What compared answers say."""
    longer = found["longer_wins"]
    about: list[tuple[str, Any]] = [("pairs", found["pairs"])] if found["pairs"] else []
    about += (
        [("thumbs", f"{found['liked']} up, {found['disliked']} down")] if found["liked"] or found["disliked"] else []
    )
    about += [("longer answer wins", f"{longer:.1%}")] if longer is not None else []
    about += [("preferred to itself", found["identical"]["rows"])]
    return [*about, ("contradicting rows", found["contradicting"]["rows"])]


def coloured() -> bool:
    """Whether a person looks at a terminal that shows colours."""
    terminal = sys.__stdout__
    return terminal is not None and terminal.isatty() and "NO_COLOR" not in os.environ

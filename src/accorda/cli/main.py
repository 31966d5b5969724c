"""`accorda VERB ...`: finds the verb's file, runs it, prints its outcome, returns the exit code."""

import contextlib
import importlib
import io
import json
import os
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from accorda import __version__, cli
from accorda.cli.terminal.ending import ended
from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.parser import Help, Parser
from accorda.errors import Refusal
from accorda.recipe.words import meant, shown
from accorda.runs.files import finite

USAGE = """\
accorda tunes language models and proves what it did.

usage: accorda VERB ... [--json]

{verbs}

accorda VERB --help tells what a verb takes; --version prints the version.
exit codes: 0 done and proven, 1 a proof or check failed, 2 bad input, 3 stopped and resumable, 70 a fault of accorda
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: its result alone on standard output, its error line last on standard error."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what libraries print is no result
            outcome = run(arguments)
    except Help as shown_help:
        outcome = Outcome(result={"help": str(shown_help)}, text=str(shown_help))
    except BaseException as error:
        outcome = ended(error, arguments)
    emit(outcome, as_json="--json" in arguments)
    return outcome.code


def run(arguments: Sequence[str]) -> Outcome:
    """Read the arguments and run the verb they name."""
    words = [word for word in arguments if word != "--json"]
    if not words:
        sys.stderr.write(usage())
        raise Refusal("no verb given; the list stands above")
    verb, rest = words[0], words[1:]
    if verb == "--help":
        raise Help(usage())
    if verb == "--version":
        return Outcome(result={"version": __version__}, text=f"accorda {__version__}")
    if verb not in verbs():
        raise Refusal(f"{shown(verb)}: no such verb{meant(verb, verbs()) or '; accorda --help lists them'}")
    module = load(verb)
    options = parser(verb, module).read(rest)
    options.json = "--json" in arguments  # chat writes to standard output itself and must know
    return module.run(options)


def verbs() -> list[str]:
    """The verbs: the modules of this folder."""
    return sorted(
        entry.name for entry in pkgutil.iter_modules(cli.__path__) if not entry.ispkg and entry.name != "main"
    )


def load(verb: str) -> ModuleType:
    """The module of a verb."""
    return importlib.import_module(f"accorda.cli.{verb}")


def parser(verb: str, module: ModuleType) -> Parser:
    """The argument parser of a verb, described by its docstring."""
    made = Parser(verb, (module.__doc__ or "").strip(), verbs())
    module.add_arguments(made)
    return made


def usage() -> str:
    """Every verb with the first line of its docstring."""
    lines = ((verb, (load(verb).__doc__ or "").strip().partition("\n")[0]) for verb in verbs())
    return USAGE.format(verbs="\n".join(f"  {verb:<10} {line}" for verb, line in lines))


def emit(outcome: Outcome, *, as_json: bool) -> None:
    """Print what came out. A reader that has gone away (`| head`) is no error."""
    text = json.dumps(finite(outcome.result), default=plain) if as_json else outcome.text.rstrip("\n")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that cannot show a character gets its number
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if text:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if outcome.error:
        sys.stderr.write(f"error: {outcome.error}\n")
        sys.stderr.flush()


def plain(value: Any) -> Any:
    """A value that JSON does not know: numbers of numpy and torch as numbers, anything else as text."""
    return value.item() if hasattr(value, "item") else str(value)

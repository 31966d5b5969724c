"""What `generate` does with a classifier: a label for every text, with the probabilities of all classes."""

import argparse
from typing import Any

from accorda.cli.terminal.opening import Ready
from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.table import table
from accorda.errors import Refusal

SAMPLING = {"max_new_tokens": 128, "temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0, "stop": [], "chat": False}
LONGEST = 60
"""Characters of a text that a table shows."""


def refuse_sampling(arguments: argparse.Namespace) -> None:
    """Refuse flags that say how tokens are drawn."""
    given = next((name for name, default in SAMPLING.items() if getattr(arguments, name) != default), None)
    if given is not None:
        raise Refusal(
            f"--{given.replace('_', '-')}: {arguments.run} is a classifier, which writes no text; leave it out"
        )


def labelled(arguments: argparse.Namespace, texts: list[str], named: dict[str, str], opened: Ready) -> Outcome:
    """A label, or a number, for each text and each row of the file."""
    from accorda.data.example import Example
    from accorda.evaluation.labelled.predict import label_texts
    from accorda.evaluation.rows import room

    examples = [Example(text=text) for text in texts]
    if arguments.file is not None:
        examples += rows(arguments.file, named)
    most = room(opened.model)
    found = label_texts(opened.model, opened.renderer, examples, max_length=most, batch_size=arguments.batch_size)
    told = [
        {"text": example.text, **({"text_pair": example.text_pair} if example.text_pair else {}), **label}
        for example, label in zip(examples, found, strict=True)
    ]
    return Outcome(result={"model": arguments.run, "predictions": told}, text=shown(told))


def rows(name: str, named: dict[str, str]) -> list[Any]:
    """The texts of a file, in its order; its own labels are not looked at."""
    from pathlib import Path

    from accorda.data.example import BadRow, Example
    from accorda.data.labelled.columns import asked
    from accorda.data.read import read_file

    found = []
    for file, line, row in read_file(Path(name).expanduser(), name):
        if isinstance(row, BadRow):
            raise Refusal(str(row))
        columns = asked(row, f"{file}:{line}", named)
        values = {field: row.get(column) for field, column in columns.items()}
        bad = next((field for field, value in values.items() if not isinstance(value, str) or not value.strip()), None)
        if bad is not None:
            raise Refusal(f"{file}:{line}: {columns[bad]!r} is no text; say which column is: --column {bad}=COLUMN")
        found.append(Example(text=values["text"], text_pair=values.get("text_pair"), file=file, line=line))
    return found


def shown(found: list[dict[str, Any]]) -> str:
    """One text's classes by their probability; several texts in a table."""
    if "number" in found[0]:
        lines = [(short(item["text"]), f"{item['number']:.4g}") for item in found]
        return lines[0][1] if len(lines) == 1 else table(("text", "number"), lines)
    if len(found) == 1:
        ranked = sorted(found[0]["probabilities"].items(), key=lambda item: -item[1])
        return table(("label", "probability"), [(name, f"{share:.1%}") for name, share in ranked])
    lines = [(short(item["text"]), item["label"], f"{item['probabilities'][item['label']]:.1%}") for item in found]
    return table(("text", "label", "probability"), lines)


def short(text: str) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."

"""The memory bill before a run: what it holds at every moment, whether it fits, what makes it smaller.

Takes what `accorda train` takes; the model may be a folder with a config.json and nothing else, or model.config=FILE,
and data may be left out (rows are then as long as data.max_length). `accorda plan --table` shows memory to load and to
train by size and precision, `--picture FILE` (.svg, .png or .pdf) draws it; both need no recipe.
"""

import argparse
from contextlib import closing

from accorda.cli.terminal.counting import Counting
from accorda.cli.terminal.new_file import picture_file
from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.parser import filled
from accorda.cli.terminal.settings import add_settings, recipe_of
from accorda.errors import Refusal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `train` takes, a device, and the general table and picture."""
    add_settings(parser)
    parser.add_argument("--device", metavar="D", type=filled, help="cpu, cuda, or a GPU: rtx-4090, a100-80gb, ...")
    parser.add_argument("--savings", action="store_true", help="what makes it smaller, also where it fits")
    parser.add_argument("--table", action="store_true", help="memory by size and precision, for any model")
    parser.add_argument("--picture", metavar="FILE", type=filled, help="the table as a picture")


def run(arguments: argparse.Namespace) -> Outcome:
    """The bill, or the table and its picture."""
    from accorda.cli.terminal.bill import told

    if arguments.table or arguments.picture:
        if arguments.settings or arguments.model:
            raise Refusal("--table and --picture are about models in general; leave the recipe and --model out")
        return general(arguments.picture and str(picture_file(arguments.picture)))
    recipe = recipe_of(arguments)
    from accorda.generation.progress import watched
    from accorda.stages import plan

    with closing(Counting()) as count, watched(count):
        bill = plan(recipe, device=arguments.device, savings=True if arguments.savings else None).to_dict()
    return Outcome(result=bill, text=told(bill))


def general(picture: str | None) -> Outcome:
    """The table; drawn too, where a file is named."""
    from accorda.cli.terminal.bill import general_table
    from accorda.planning.table import rows

    found = [row.to_dict() for row in rows()]
    text = general_table(found)
    if picture is not None:
        from accorda.planning.picture import draw

        draw(picture)
        text += f"\n\npicture: {picture}"
    return Outcome(result={"table": found, "picture": picture}, text=text)

"""Answer prompts with a run, an adapter or a model: from flags, a file or standard input.

A run renders prompts as it was trained; for a model that was not trained here a prompt is fed as it is, or with --chat
as what a user says. FILE may hold rows of any format that training reads; their own answers are not shown to the model.
A classifier gives every text its label and the probabilities of all of them.
"""

import argparse
import logging
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from accorda.cli.terminal.columns import add_column, columns
from accorda.cli.terminal.counting import Counting
from accorda.cli.terminal.labelling import labelled, refuse_sampling
from accorda.cli.terminal.opening import Ready, ready
from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.parser import filled, whole_number
from accorda.cli.terminal.sampling import add_base, add_sampling, base, sampling
from accorda.cli.terminal.typed import typed
from accorda.errors import Refusal
from accorda.methods.named import require_name
from accorda.runs.near import near


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the prompts, the sampling."""
    parser.add_argument("run", metavar="RUN", help="a run, an adapter folder, a model folder or a hub id")
    parser.add_argument("--prompt", metavar="TEXT", type=filled, action="append", help="as often as needed")
    parser.add_argument(
        "--file", metavar="F", type=filled, help="a file of rows; without it and --prompt: standard input"
    )
    add_column(parser)
    parser.add_argument("--chat", action="store_true", help="prompts are what a user says, through the chat template")
    add_sampling(parser, max_new_tokens=128)
    parser.add_argument(
        "--batch-size", metavar="N", type=whole_number(1), default=8, help="prompts at a time; default: 8"
    )
    add_base(parser)


def run(arguments: argparse.Namespace) -> Outcome:
    """One completion per prompt."""
    named = columns(arguments.column)
    if named and arguments.file is None:
        raise Refusal("--column: names columns of --file, which is not given")
    asked = None if arguments.file is None and arguments.prompt is None else []
    texts = [standard_input()] if asked is None else arguments.prompt or []
    require_name(arguments.run)
    if arguments.file is not None:
        require_file(arguments.file)
    from accorda.generation.progress import watched
    from accorda.generation.sample import generate
    from accorda.generation.stopping import stop_ids
    from accorda.models.labels import is_classifier
    from accorda.training.threads import settle_threads

    opened = ready(arguments.run, chat=arguments.chat, **base(arguments))
    if is_classifier(opened.model):
        refuse_sampling(arguments)
        settle_threads(opened.model)
        return labelled(arguments, texts, named, opened)
    examples = [opened.renderer.ask(text) for text in texts]
    if arguments.file is not None:
        examples += rows(arguments.file, named, opened)
    prompts = [opened.renderer.prompt_ids(example) for example in examples]
    settle_threads(opened.model, rows=len(prompts))
    with closing(Counting()) as count, watched(count):
        completions = generate(
            opened.model,
            prompts,
            tokenizer=opened.tokenizer,
            stop_ids=stop_ids(opened.model, opened.tokenizer, opened.renderer.stop_ids),
            batch_size=arguments.batch_size,
            **sampling(arguments),
        )
    shown = [opened.tokenizer.decode(prompt) for prompt in prompts]
    found = [{"prompt": prompt, **vars(done)} for prompt, done in zip(shown, completions, strict=True)]
    if len(found) == 1 and not found[0]["text"]:
        logging.getLogger("accorda").warning("the answer is empty: the model ended it at once")
    return Outcome(result={"model": arguments.run, "completions": found}, text=told(found))


def standard_input() -> str:
    """All of standard input as one prompt."""
    if sys.stdin is None or sys.stdin.isatty():
        raise Refusal("no prompt: give --prompt TEXT, --file F, or text on standard input")
    text = typed(sys.stdin.read).removesuffix("\n")
    if not text.strip():
        raise Refusal("standard input: is empty; give --prompt TEXT, --file F, or text there")
    return text


def require_file(name: str) -> None:
    """Refuse a file that is not there or holds no row."""
    from accorda.data.read import READERS, read_file, without_rows

    path = Path(name).expanduser()
    if not path.is_file():
        found = near(path, lambda each: each.suffix in READERS)
        raise Refusal(f"--file {name}: no such file" + (f"; did you mean {found}?" if found else ""))
    if next(read_file(path, name), None) is None:
        raise Refusal(f"--file {name}: {without_rows(path, name)}")


def rows(name: str, named: dict[str, str], opened: Ready) -> list[Any]:
    """The prompts of a file, in its order; a row that cannot be read is refused."""
    from accorda.data.read import read_file

    read = Rows(name, named)
    return [read.example(line, row, opened.renderer) for _, line, row in read_file(Path(name).expanduser(), name)]


class Rows:
    """Reads prompts out of rows; the format is told by the first row that is more than a prompt."""

    def __init__(self, name: str, named: dict[str, str]):
        self.name, self.named, self.mapped = name, named, None

    def example(self, line: int, row: Any, renderer: Any) -> Any:
        """One row's question; a row that cannot be read is refused."""
        from accorda.data.example import BadRow, RowError
        from accorda.data.formats.registry import choose

        if isinstance(row, BadRow):
            raise Refusal(str(row))
        prompt = row.get(self.named.get("prompt", "prompt"))
        if isinstance(prompt, str):
            return renderer.ask(prompt)
        self.mapped = self.mapped or choose(row, f"{self.name}:{line}", columns=self.named)
        try:
            example = self.mapped.parse(row)
        except RowError as error:
            raise Refusal(f"{self.name}:{line}: {error}") from error
        return renderer.ask(example.text) if example.kind == "text" else example


def told(found: list[dict[str, Any]]) -> str:
    """One answer alone as it is; several each below its prompt."""
    if len(found) == 1:
        return found[0]["text"]
    return "\n\n".join(f"> {item['prompt']}\n{item['text']}" for item in found)

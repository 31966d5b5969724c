"""Talk with a run, an adapter or a model: answers as they are written, the base beside the tuned one.

In a terminal, /help lists what can be done with the conversation. Lines on standard input are messages and commands as
well, so `echo "hi" | accorda chat MODEL` prints the answer and nothing else; remarks go to standard error.
"""

import argparse
import sys

from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.parser import filled
from accorda.cli.terminal.sampling import add_base, add_sampling, base, sampling


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, the system message, the sampling."""
    says = "a run, an adapter folder, a model folder or a hub id; default: bundled, the model that comes with accorda"
    parser.add_argument("run", nargs="?", metavar="RUN", default="bundled", help=says)
    parser.add_argument("--system", metavar="TEXT", type=filled, help="what stands in front of the conversation")
    add_sampling(parser, max_new_tokens=256)
    add_base(parser)


def run(arguments: argparse.Namespace) -> Outcome:
    """The conversation, to its end."""
    from accorda.cli.terminal.talk import Piped, Terminal, talk
    from accorda.errors import Refusal
    from accorda.generation.sampling import Sampling
    from accorda.methods.open import head_of
    from accorda.recipe.reader import read
    from accorda.serving.chat.chat import Chat
    from accorda.serving.chat.commands import obey
    from accorda.serving.chat.voices import Voices
    from accorda.training.threads import settle_threads

    if arguments.run != "bundled" and head_of(arguments.run) is not None:
        raise Refusal(f"RUN = {arguments.run}: a classifier, which does not talk; try accorda generate {arguments.run}")
    drawn = read(Sampling, sampling(arguments), at="sampling")
    if sys.stdin is None:
        raise Refusal("standard input: is closed; messages come from there")
    voices = Voices.open(arguments.run, **base(arguments))
    settle_threads(voices.model, rows=1)
    chat = Chat(voices, drawn)
    if arguments.system:
        obey(chat, f"/system {arguments.system}")
    interactive = not arguments.json and sys.stdin.isatty() and sys.__stdout__ is not None and sys.__stdout__.isatty()
    talk(chat, Terminal() if interactive else Piped(silent=arguments.json))
    return Outcome(result={"model": arguments.run, **chat.to_dict()})

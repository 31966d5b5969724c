"""The flags of verbs that have a model answer: how its tokens are chosen, and how its base is opened."""

import argparse
from typing import Any

from accorda.cli.terminal.parser import add_trust, filled, number, whole_number


def add_sampling(parser: argparse.ArgumentParser, max_new_tokens: int) -> None:
    """Temperature and the rest; so many tokens by default."""
    says = f"default: {max_new_tokens}"
    parser.add_argument("--max-new-tokens", metavar="N", type=whole_number(1), default=max_new_tokens, help=says)
    parser.add_argument(
        "--temperature", metavar="X", type=number(0), default=0.0, help="default: 0, the likeliest token"
    )
    parser.add_argument(
        "--top-k", metavar="K", type=whole_number(0), default=0, help="draw from the K likeliest; 0: all"
    )
    parser.add_argument(
        "--top-p", metavar="P", type=number(0, 1), default=1.0, help="draw from the likeliest with mass P"
    )
    parser.add_argument("--seed", metavar="N", type=whole_number(0), default=0, help="what is drawn follows from it")
    parser.add_argument("--stop", metavar="TEXT", type=filled, action="append", default=[], help="ends an answer")


def sampling(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of `Sampling` as they were given."""
    names = ("max_new_tokens", "temperature", "top_k", "top_p", "seed")
    return {name: getattr(arguments, name) for name in names} | {"stop_texts": arguments.stop}


def add_base(parser: argparse.ArgumentParser) -> None:
    """The number format of the base, how its scales are kept, and whether code that comes with it may run."""
    parser.add_argument(
        "--quantization", metavar="Q", type=filled, default="none", help="of the base: none, int8 or nf4"
    )
    add_double_quantization(parser)
    add_trust(parser)


def add_double_quantization(parser: argparse.ArgumentParser) -> None:
    """Whether the scales of nf4 are quantized too: they are, unless the flag is given."""
    parser.add_argument(
        "--no-double-quantization",
        dest="double_quantization",
        action="store_false",
        help="of nf4: keep the scales of blocks in 32 bit",
    )


def base(arguments: argparse.Namespace) -> dict[str, Any]:
    """How the base is opened, as it was given: in the words of `load_model`."""
    return {name: getattr(arguments, name) for name in ("quantization", "double_quantization", "trust_remote_code")}

"""`python -m bundled STEP`: text, tokenizer, tickets, preferences, sheet; after pre-training adopt and curve."""

import argparse
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "bundled"
MODEL = ROOT / "src" / "accorda" / "models" / "bundled"
TICKETS = ROOT / "src" / "accorda" / "data" / "bundled"
DOCUMENTS = 45_000
ECHOES = 22_000
HELDOUT = 400
POSITIONS = 1024


def text() -> None:
    """What is copied at first, the corpus, and the held-out part of each."""
    from bundled import corpus

    corpus.write(BUILD / "echo.jsonl", seed=2, count=ECHOES, made=corpus.echo)
    corpus.write(BUILD / "echo-heldout.jsonl", seed=3, count=HELDOUT // 4, made=corpus.echo)
    corpus.write(BUILD / "corpus.jsonl", seed=0, count=DOCUMENTS)
    corpus.write(BUILD / "heldout.jsonl", seed=1, count=HELDOUT)


def tokenizer() -> None:
    """The tokenizer, from the corpus."""
    from bundled import tokenizer as learned

    learned.train(BUILD / "corpus.jsonl", DOCUMENTS, MODEL, POSITIONS)


def tickets() -> None:
    """The tickets with summaries: 800 to train on and 200 held out, short ones and threads."""
    from bundled.tickets import write

    write(TICKETS)


def preferences() -> None:
    """Pairs of summaries: 400 to train on and 100 held out."""
    from bundled.preferences import write

    write(TICKETS)


def sheet() -> None:
    """The table that the tutorial starts from."""
    from bundled.sheet import write

    write(ROOT / "examples" / "tickets.csv")


def adopt() -> None:
    """The pre-trained run's model into the package."""
    from bundled.adopt import adopt as into

    into(BUILD / "4m", MODEL)


def curve() -> None:
    """Quality at three sizes."""
    from bundled.curve import draw

    draw(BUILD)


STEPS = (text, tokenizer, tickets, preferences, sheet, adopt, curve)


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(prog="python -m bundled", description=__doc__)
    parser.add_argument("step", choices=[step.__name__ for step in STEPS])
    name = parser.parse_args().step
    next(step for step in STEPS if step.__name__ == name)()


if __name__ == "__main__":
    main()

"""A table of support tickets as a shop would export it: what the tutorial starts from."""

import csv
from pathlib import Path
from random import Random

from bundled.tickets import facts, ticket

COLUMNS = ("ticket", "message", "summary")
COUNT = 400
SEED = 300


def write(path: Path) -> None:
    """`examples/tickets.csv`: a number, what the customer wrote, and the line that an agent made of it."""
    rng = Random(SEED)
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        for number in range(COUNT):
            about = facts(rng)
            lines.writerow((f"T-{number + 1:04}", ticket(rng, about), about.summary()))

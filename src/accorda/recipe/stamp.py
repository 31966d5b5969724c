"""The first line of a `recipe.yaml` that a run wrote: its hash tells whether the origins written in it still hold."""

import hashlib

TITLE = "# The recipe as used; behind each value, where it came from. Unchanged since it was written if its hash is "


def stamped(body: str) -> str:
    """The recipe's text under its first line."""
    return f"{TITLE}{_digest(body)}\n{body}"


def is_as_written(text: str) -> bool:
    """Whether a run wrote this text and nobody has edited it."""
    return text == stamped(text.partition("\n")[2])


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()[:16]

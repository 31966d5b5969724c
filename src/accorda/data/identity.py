"""What decides the tokens of a source: the key under which they are kept, so that a change of any of it is a miss."""

import hashlib
import json
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable

from accorda import __version__
from accorda.data.renderer import Renderer
from accorda.data.sources import Origin

LIBRARIES = ("transformers", "tokenizers", "jinja2")


def store_key(origin: Origin, content: str, renderer: Renderer, limit: int | None) -> str:
    """SHA-256 over the rows (by their digest, `content`), how they are read, the renderer, its tokenizer, the code."""
    parts = {
        "rows": content,
        "reader": origin.path.name.lower().removesuffix(".gz").rpartition(".")[2] if origin.path else "rows",
        "format": origin.format,
        "columns": dict(origin.columns),
        "limit": limit,
        "renderer": renderer.digest,
        "rows are": renderer.rows_are,
        "code": code_digest(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def code_digest() -> str:
    """SHA-256 over this folder's files, our version and those of the libraries that render and encode."""
    content = hashlib.sha256(f"{__version__} {[version(name) for name in LIBRARIES]}".encode())
    for name, item in sorted(_files(files("accorda.data"), "")):
        content.update(f"{name}\n".encode())
        content.update(item.read_bytes())
    return content.hexdigest()


def _files(folder: Traversable, above: str) -> list[tuple[str, Traversable]]:
    found = []
    for item in folder.iterdir():
        if item.is_dir():
            found += _files(item, f"{above}{item.name}/")
        elif item.name.endswith((".py", ".jinja")):
            found.append((above + item.name, item))
    return found

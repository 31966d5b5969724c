"""Single files that are never half there: written aside, synced, renamed. And the hash of what a file holds."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from accorda.runs.replace import named_as_asked, sync


@contextmanager
def written_aside(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write into; it takes the place of `path` at once when the block ends without an exception.

    A crash leaves the old file or the new one.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.new")
    try:
        with open(aside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        named_as_asked(error, aside, path)
        raise
    finally:
        with suppress(OSError):  # the first error tells more
            aside.unlink()
    sync(path.parent)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Put `data` in the place of the file at once."""
    with written_aside(path) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    """`write_bytes` of UTF-8 text; line ends stay as they are."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: object) -> None:
    """`write_bytes` of indented JSON; numbers that JSON does not have become null."""
    write_text(path, json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> dict[str, Any] | None:
    """The mapping in a JSON file; None where there is no such file or it holds none."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def finite(value: object) -> Any:
    """The value with not-a-number and infinity as None, at every depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def sha256(path: str | Path) -> str:
    """The hash of a file's bytes, or of a folder's file names and their hashes."""
    path = Path(path)
    if not path.is_dir():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    names = sorted(item.relative_to(path).as_posix() for item in path.rglob("*") if item.is_file())
    return hashlib.sha256("".join(f"{name}\0{sha256(path / name)}\n" for name in names).encode()).hexdigest()

"""Tokenised sources on disk: memory-mapped, found by what decides their content, never half written.

A store is a folder named by its key: `ids.bin` (int32) and `supervised.bin` (bool) of all rows end to end,
`examples.bin` (their JSON), `rows.bin` (where each begins), `meta.json` (counts, bad rows, a checksum per file).
A store whose files do not agree with their checksums counts as absent. Folders are kept in `$ACCORDA_CACHE`, else in
`~/.cache/accorda`; deleting them is safe.
"""

import hashlib
import json
import logging
import os
import shutil
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from accorda.data.example import digest
from accorda.data.rendered import Rendered
from accorda.errors import Refusal
from accorda.runs.replace import sync

log = logging.getLogger(__name__)
ROW = np.dtype(
    {
        "names": ["start", "example", "line", "digest", "first", "prompt", "supervised"],
        "formats": ["<i8", "<i8", "<i8", "<u8", "<i4", "<i4", "<i4"],
    }
)
"""Of each row: where its tokens and its JSON begin, its line, a digest of its content, the first supervised token, the
beginning of the last completion, the number of supervised tokens. One more entry closes the table."""
BINARY = {"ids.bin": np.dtype("<i4"), "supervised.bin": np.dtype("?"), "examples.bin": np.dtype("u1"), "rows.bin": ROW}
PACKED = struct.Struct("<qqqQiii")  # a row of the table as bytes
DAY = 86400.0


@dataclass(frozen=True, eq=False)
class Store:
    """One tokenised source, read-only. `bad` holds (line, reason) of its first bad rows, of `num_bad`.

    `digest` is the SHA-256 of its rows' tokens and labels.
    """

    key: str
    ids: np.ndarray
    supervised: np.ndarray
    examples: np.ndarray
    rows: np.ndarray
    format: str
    columns: dict[str, str]
    kind: str
    num_seen: int
    num_bad: int
    bad: Sequence[tuple[int, str]]
    digest: str

    def __len__(self) -> int:
        return len(self.rows) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per row."""
        return np.diff(self.rows["start"])

    def example(self, row: int) -> dict[str, Any]:
        """The content of a row, as `Example.from_dict` takes it."""
        begin, end = self.rows["example"][row], self.rows["example"][row + 1]
        return json.loads(self.examples[begin:end].tobytes())


class Writer:
    """Appends rows to the files of a store that is being made."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.files: dict[str, BinaryIO] = {name: (folder / name).open("wb") for name in BINARY}
        self.checksums = dict.fromkeys(BINARY, 0)
        self.content = hashlib.sha256()
        self.tokens = self.bytes = 0

    def add(self, rendered: Rendered, content: str, line: int) -> None:
        """One row: its tokens, its JSON and its line."""
        supervised, encoded = rendered.supervised, content.encode()
        first, prompt = int(np.argmax(supervised)), rendered.prompt_length
        number = int(np.count_nonzero(supervised))
        row = (self.tokens, self.bytes, line, digest(encoded), first, prompt, number)
        ids, flags = rendered.input_ids.astype("<i4").tobytes(), supervised.tobytes()
        self.content.update(len(supervised).to_bytes(8, "little") + ids + flags)
        self._write("rows.bin", PACKED.pack(*row))
        self._write("ids.bin", ids)
        self._write("supervised.bin", flags)
        self._write("examples.bin", encoded)
        self.tokens += len(supervised)
        self.bytes += len(encoded)

    def finish(self, **meta: Any) -> None:
        """Close the table and write the description, last."""
        self._write("rows.bin", PACKED.pack(self.tokens, self.bytes, 0, 0, 0, 0, 0))
        self.close()
        described = {**meta, "digest": self.content.hexdigest(), "checksums": self.checksums}
        (self.folder / "meta.json").write_text(json.dumps(described), encoding="utf-8")
        for path in [*self.folder.iterdir(), self.folder]:
            sync(path)

    def close(self) -> None:
        """Close the files."""
        for file in self.files.values():
            file.close()

    def _write(self, name: str, content: bytes) -> None:
        self.files[name].write(content)
        self.checksums[name] = zlib.crc32(content, self.checksums[name])


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    value = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            value = zlib.crc32(piece, value)
    return value


def store_root(folder: Path | str | None = None) -> Path:
    """The folder that holds stores, made if need be."""
    named = folder or os.environ.get("ACCORDA_CACHE")
    root = Path(named).expanduser() if named else Path.home() / ".cache" / "accorda"
    try:
        root = root / "tokens"
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refusal(f"{root}: cannot keep tokens there ({error.strerror}): set ACCORDA_CACHE to a folder") from None
    return root


def opened(key: str, root: Path) -> Store | None:
    """The store of a key; None where there is none or its files are damaged."""
    folder = root / key
    if not folder.is_dir():
        return None
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        checksums = meta.pop("checksums")
        if {name: checksum(folder / name) for name in BINARY} != checksums:
            raise ValueError("a checksum differs")
        arrays = {name.partition(".")[0]: _mapped(folder / name, dtype) for name, dtype in BINARY.items()}
        meta["bad"] = [(line, reason) for line, reason in meta["bad"]]
        return Store(key=key, **arrays, **meta)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("token store %s is damaged (%s) and is made again", folder, error)
        return None


def _mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    if path.stat().st_size == 0:
        return np.zeros(0, dtype)
    return np.memmap(path, dtype, "r")


def made(key: str, root: Path, fill: Callable[[Writer], dict[str, Any]]) -> Store:
    """The store of a key after `fill` wrote its rows and returned its description; in place all at once or not at all.

    Processes that make the same store do not disturb each other: the first to finish puts it there.
    """
    _sweep(root)
    aside = Path(tempfile.mkdtemp(prefix=f".{key[:16]}-", dir=root))
    writer = Writer(aside)
    try:
        writer.finish(**fill(writer))
        _place(aside, root, key)
    except OSError as error:
        raise Refusal(
            f"{root}: cannot keep tokens there ({error.strerror}); ACCORDA_CACHE names another folder"
        ) from None
    finally:
        writer.close()
        shutil.rmtree(aside, ignore_errors=True)
    store = opened(key, root)
    if store is None:
        raise Refusal(f"{root / key}: the tokens just written there cannot be read back: check the disk")
    return store


def _place(aside: Path, root: Path, key: str) -> None:
    try:
        os.rename(aside, root / key)
    except OSError:  # there is one: another process was faster, or it is damaged
        if opened(key, root) is None:
            shutil.rmtree(root / key, ignore_errors=True)
            os.rename(aside, root / key)
    sync(root)


def _sweep(root: Path) -> None:
    """Remove what processes that were killed a day ago or earlier left."""
    for left in root.glob(".*-*"):
        if time.time() - left.stat().st_mtime > DAY:
            shutil.rmtree(left, ignore_errors=True)

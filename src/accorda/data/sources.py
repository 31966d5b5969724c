"""Where rows come from: a file, folder, pattern, data set of hub or package, or Python; and what identifies them."""

import difflib
import glob
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from accorda.data.example import BadRow
from accorda.data.read import READERS, RawRow, read_file, without_rows
from accorda.errors import Refusal
from accorda.recipe.words import choice, install
from accorda.recipe.words import shown as shortened

HUB = "hf:"
LIKENESS = 0.75  # of names without their endings, where 1 is equal: enough for a slip, too little for another word
BUNDLED = "bundled:"
BUNDLED_FOLDER = Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class Origin:
    """One place that rows come from, with the format and columns to read them with, and its weight in the mixture."""

    shown: str
    path: Path | None = None
    rows: Iterable[Any] = ()
    weight: float = 1.0
    format: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)

    def read(self) -> Iterator[RawRow]:
        """Its rows, one by one."""
        if self.path is not None:
            return read_file(self.path, self.shown)
        return _given(self.rows, self.shown)

    def digest(self) -> str:
        """SHA-256 of the file's bytes, or of the rows as canonical JSON."""
        if self.path is not None:
            return file_digest(self.path, self.shown)
        content = hashlib.sha256()
        for row in self.rows:
            content.update(json.dumps(row, default=repr).encode())
            content.update(b"\n")
        return content.hexdigest()


def file_digest(path: Path, shown: str) -> str:
    """SHA-256 of a file's bytes, in hex."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Refusal(f"{shown}: cannot be read: {error.strerror}") from None


def origins(section: Any, split: str) -> list[Origin]:
    """What `data.train` or `data.eval` names, folders and patterns spread out into their files; [] for none."""
    rows = section.rows(split)
    if rows is not None:
        return [Origin(f"data.{split}", None, rows, format=section.format, columns=section.columns)]
    return [origin for source in section.sources(split) for origin in _spread(source, f"data.{split}")]


def no_rows(listed: Sequence[Origin], setting: str) -> Refusal:
    """That there is not one row in any of the sources of a setting."""
    first = listed[0]
    if len(listed) > 1 or first.path is None:
        return Refusal(f"{setting}: no rows in {', '.join(origin.shown for origin in listed)}; name data that has some")
    return Refusal(f"{setting}: {first.shown}: {without_rows(first.path, first.shown)}; name a file with rows")


def _spread(source: Any, setting: str) -> Iterable[Origin]:
    settings = {"weight": source.weight, "format": source.format or "auto", "columns": source.columns}
    if source.path.startswith(HUB):
        return [Origin(source.path, None, _hub_rows(source.path), **settings)]
    if source.path.startswith(BUNDLED):
        return [Origin(source.path, _bundled(source.path, setting), **settings)]
    if not source.path.strip():
        raise Refusal(f"{setting}: an empty path")
    try:
        return [Origin(shown, file, **settings) for shown, file in _files(source.path, setting)]
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise Refusal(f"{setting}: {shortened(source.path)}: cannot be read: {error.strerror}") from None


def _files(name: str, setting: str) -> list[tuple[str, Path]]:
    """The files of a path, folder or pattern, and how messages name them."""
    path = Path(name).expanduser()
    if path.is_file():
        return [(name, path)]
    found = sorted(path.iterdir()) if path.is_dir() else [Path(name) for name in sorted(glob.glob(str(path)))]
    found = [file for file in found if file.is_file() and _readable(file)]
    if not found:
        raise Refusal(f"{setting}: {_missing(path, name)}")
    return [(str(file), file) for file in found]


def _bundled(name: str, setting: str) -> Path:
    """The file of `bundled:tickets` and the other data sets that come with the package."""
    files = {BUNDLED + file.stem: file for file in sorted(BUNDLED_FOLDER.glob("*.jsonl"))}
    if name not in files:
        raise Refusal(f"{setting} = {name}: accorda brings no such data{choice(name, files)}")
    return files[name]


def _readable(path: Path) -> bool:
    return Path(path.name.lower().removesuffix(".gz")).suffix in READERS


def _missing(path: Path, shown: str) -> str:
    if path.is_dir():
        return f"{shown}: a folder without any file that ends in {', '.join(READERS)}"
    if path.is_symlink() or path.exists():
        return f"{shown}: {'a link to no file' if path.is_symlink() else 'no ordinary file'}; name a file with rows"
    files = [file for file in path.parent.iterdir() if _readable(file)] if path.parent.is_dir() else []
    near = _nearest(path.name, [file.name for file in files])
    return f"{shown}: no such file" + (f"; did you mean {path.parent / near}?" if near else "")


def _nearest(name: str, names: Sequence[str]) -> str | None:
    """The file that was probably meant: the endings that all files share make none more alike."""
    stems = {other: _stem(other) for other in names}
    near = difflib.get_close_matches(_stem(name), stems.values(), n=1, cutoff=LIKENESS)
    alike = [other for other, stem in stems.items() if near and stem == near[0]]
    return max(alike, key=lambda other: difflib.SequenceMatcher(None, name, other).ratio(), default=None)


def _stem(name: str) -> str:
    return Path(name.lower().removesuffix(".gz")).stem


def _given(rows: Iterable[Any], shown: str) -> Iterator[RawRow]:
    for number, row in enumerate(rows, start=1):
        if isinstance(row, str):
            yield shown, number, {"text": row}
        elif isinstance(row, Mapping):
            yield shown, number, dict(row)
        else:
            yield shown, number, BadRow(shown, number, f"the row is {type(row).__name__}, not an object")


def _hub_rows(name: str) -> Iterable[Any]:
    """Rows of `hf:owner/name:split`, or `hf:owner/name:configuration:split`, through the `datasets` package."""
    parts = name.removeprefix(HUB).split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise Refusal(f"{name}: write hf:owner/name:split or hf:owner/name:configuration:split")
    try:
        import datasets
        from datasets.exceptions import DatasetsError
    except ImportError:
        raise Refusal(f"{name}: data sets of the hub need datasets: {install('data')}") from None
    try:
        loaded = datasets.load_dataset(parts[0], *parts[1:-1], split=parts[-1])
    except (OSError, ValueError, DatasetsError) as error:
        raise Refusal(f"{name}: cannot be loaded: {str(error).splitlines()[0]}") from None
    return cast(Iterable[Any], loaded)

"""Where rows come from, as `data.train` and `data.eval` hold it: one place plainly, several as a list."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accorda.recipe.migrate.draft import Draft

FILES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", ".gz")
Place = dict[str, Any]  # {"path", "format", "columns"}: what a source of a recipe may say


def place(name: str, split: str = "train", configuration: str | None = None) -> str:
    """A file or folder by its path, anything else as a data set of the hub."""
    if name.startswith((".", "/", "~")) or name.endswith(FILES) or Path(name).expanduser().exists():
        return name
    return ":".join(["hf", name, *([configuration] if configuration else []), split])


def entries(draft: Draft, key: str) -> list[dict[str, Any]]:
    """The data sets that a key lists, each with its keys; a name alone is its path.

    Raises:
        Refusal: something else than names and mappings.
    """
    given = draft.value(key) or []
    listed = given if isinstance(given, list) else [given]
    items = [{"path": item} if isinstance(item, str) else item for item in listed]
    if not all(isinstance(item, dict) for item in items):
        raise draft.refuse(key, "must be a list of data sets")
    return [{str(name): value for name, value in item.items()} for item in items]


def source(draft: Draft, at: str, item: Mapping[str, Any]) -> Place:
    """Where the rows of one entry are: its file, or its data set of the hub."""
    files = draft.listed(f"{at}.data_files", item.get("data_files"))
    if len(files) > 1:
        says = "one file a source; list the others in data.train"
        draft.tell("no counterpart", f"{at}.data_files", says, value=files)
    if files:
        return {"path": files[0]}
    path, split, configuration = (item.get(key) for key in ("path", "split", "name"))
    return {"path": place(str(path), str(split or "train"), None if configuration is None else str(configuration))}


def put_places(draft: Draft, split: str, places: Sequence[Place], *keys: str) -> None:
    """`data.train` or `data.eval`; the format and columns of a single one stand in the section."""
    if len(places) > 1 or (split == "eval" and set(places[0]) - {"path"}):
        return draft.put(f"data.{split}", [dict(item) for item in places], *keys)
    draft.put(f"data.{split}", places[0]["path"], *keys)
    for field in ("format", "columns"):
        if field in places[0]:
            draft.put(f"data.{field}", places[0][field], *keys)
    return None


def split_of(draft: Draft, key: str) -> None:
    """The share of the training rows that is kept for evaluation; a count of rows is no share."""
    amount = draft.number(key) if draft.value(key) is not None else 0
    if amount >= 1:
        says = f"a share of the rows here, not a count: {amount:g} rows; the default share is written"
        draft.put("data.eval_split", 0.05, key, says=says)
    else:
        draft.put("data.eval_split", float(amount), key)

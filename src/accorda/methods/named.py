"""Names of models that are not here: a hub id, or a refusal with what was probably meant. Needs no torch."""

import re
from pathlib import Path

from accorda.errors import Refusal
from accorda.recipe.types import BUNDLED
from accorda.recipe.words import meant
from accorda.runs.near import near

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def require_name(path: str | Path, setting: str = "model.path") -> None:
    """Refuse a name that stands for nothing here and can be no hub id."""
    if str(path) != BUNDLED and not Path(path).expanduser().exists():
        hub_id(path, setting)


def hub_id(path: str | Path, setting: str = "model.path") -> str:
    """The name of something that is not here, if it can be a hub id: owner/name, and no folder `owner` here.

    Raises:
        Refusal: it cannot.
    """
    text, folder = str(path), Path(path).expanduser()
    if HUB_ID.fullmatch(text) and not folder.parent.is_dir():
        return text
    found = near(folder) or (BUNDLED if meant(text, [BUNDLED]) else None)
    kinds = "name a model folder, an adapter, a run, a hub id (owner/name), or bundled"
    raise Refusal(f"{setting} = {text}: no such folder; {f'did you mean {found}?' if found else kinds}")

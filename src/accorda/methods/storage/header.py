"""What accorda writes about an adapter beside what PEFT would."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from accorda.errors import Refusal
from accorda.methods.storage.strict import about
from accorda.recipe.reader import read

KEY = "accorda"  # of the config in our own format, of the tensor file's metadata in PEFT's
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Header:
    """`methods` as in a recipe, the fingerprint of the base, and the number format the base had in training.

    `added_tokens`: what the base was grown by before the methods were put on it; left out where it was not.
    `labels`: the classes that a classification head tells apart (none of them: a number); None for other heads.
    """

    version: int = VERSION
    methods: tuple[dict[str, Any], ...]
    base: dict[str, Any]
    quantization: str
    added_tokens: dict[str, Any] | None = None
    labels: tuple[str, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what does not apply is left out."""
        values = asdict(self) | {"methods": list(self.methods)}
        if self.labels is not None:
            values["labels"] = list(self.labels)
        return {name: value for name, value in values.items() if value is not None}


def header_of(config: Mapping[str, Any], metadata: Mapping[str, str], where: str) -> Header | None:
    """Our header, from the place its format keeps it in; None where another tool wrote the files.

    PEFT takes an unknown key of adapter_config.json for a sign of a newer PEFT and warns the user to upgrade, so beside
    PEFT's own keys the header stands in the metadata of the tensor file.

    Raises:
        Refusal: a header that is broken, or newer than this code.
    """
    if KEY not in config and KEY not in metadata:
        return None
    try:
        content = config[KEY] if KEY in config else json.loads(metadata[KEY])
    except ValueError as error:
        raise Refusal(f"{where}: broken header ({error}); copy or save the adapter again") from None
    version = content.get("version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise Refusal(f"{where}: written by a newer accorda (format {version}, known: {VERSION}); upgrade")
    with about(where):
        return read(Header, content, at="header")

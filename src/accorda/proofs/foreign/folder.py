"""What stands in a folder that any tool wrote, and the base it names."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerBase

from accorda.errors import Refusal
from accorda.models.configuration import class_for
from accorda.models.folder import BUNDLED, model_folder
from accorda.models.tokenizer import FILES as TOKENIZER_FILES
from accorda.models.tokenizer import load_tokenizer
from accorda.proofs.tensors import TensorFiles


@dataclass
class Folder:
    """An adapter or model folder and, for an adapter, the folder of its base (None if there is none at hand)."""

    path: Path
    kind: str  # "adapter" | "model"
    base: Path | None

    @classmethod
    def at(cls, path: Path, base: Path | None) -> "Folder":
        """Looks at the files.

        Raises:
            Refusal: neither an adapter nor a model folder; a base that is not a model folder.
        """
        if base is not None and str(base) == BUNDLED:
            base = model_folder(BUNDLED)
        if base is not None and not (base / "config.json").is_file():
            raise Refusal(f"--base {base}: no model folder (no config.json)")
        if (path / "adapter_config.json").is_file():
            return cls(path, "adapter", base or _named_base(path))
        if (path / "config.json").is_file():
            return cls(path, "model", base)
        raise Refusal(f"{path}: neither a run, an adapter (adapter_config.json) nor a model (config.json)")

    @cached_property
    def config(self) -> dict[str, Any]:
        """adapter_config.json or config.json."""
        return read_json(self.path / ("adapter_config.json" if self.kind == "adapter" else "config.json"))

    @cached_property
    def tensors(self) -> TensorFiles:
        """The weights."""
        return TensorFiles(self.path, "adapter_model" if self.kind == "adapter" else "model")

    @cached_property
    def model_folder(self) -> Path | None:
        """Where the architecture is described: the model itself, or the adapter's base."""
        return self.path if self.kind == "model" else self.base

    @cached_property
    def skeleton(self) -> nn.Module | None:
        """The architecture without weights (meta device): module names and shapes as transformers has them."""
        if self.model_folder is None:
            return None
        config = AutoConfig.from_pretrained(self.model_folder)
        with torch.device("meta"):
            return class_for("language", config).from_config(config)

    @cached_property
    def tokenizer_home(self) -> Path | None:
        """Where the tokenizer is: in the folder itself, else with the base."""
        return next((place for place in (self.path, self.base) if place is not None and has_tokenizer(place)), None)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The folder's own tokenizer, else the base's."""
        return None if self.tokenizer_home is None else load_tokenizer(self.tokenizer_home)

    @cached_property
    def generation(self) -> GenerationConfig | None:
        """The generation settings that a server would read: the folder's own, else the base's, else config.json's."""
        for place in (self.path, self.base):
            if place is not None and (place / "generation_config.json").is_file():
                return GenerationConfig.from_pretrained(place)
        if self.model_folder is None:
            return None
        return GenerationConfig.from_model_config(AutoConfig.from_pretrained(self.model_folder))


def has_tokenizer(path: Path) -> bool:
    """A tokenizer can be loaded from this folder."""
    return any((path / name).is_file() for name in TOKENIZER_FILES)


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object.

    Raises:
        Refusal: the file is no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise Refusal(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(found, dict):
        raise Refusal(f"{path}: a JSON object is expected, found {type(found).__name__}")
    return found


def _named_base(path: Path) -> Path | None:
    """The base that adapter_config.json names, if it is here: from where we stand, or from a folder it lies in."""
    named = read_json(path / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        return None
    if named == BUNDLED:
        return model_folder(BUNDLED)
    around = [] if Path(named).is_absolute() else [parent / named for parent in path.resolve().parents]
    places = [Path(named).expanduser(), *around]
    return next((place for place in places if (place / "config.json").is_file()), None)

"""Open anything a user can name as a model: hub id, model folder, adapter folder, run."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.storage import adapter_base, is_adapter, load_adapter
from accorda.models.load import load_model
from accorda.runs.folder import RunFolder

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
RENDERER = "renderer.json"


@dataclass(frozen=True)
class Place:
    """What a name stands for: a base (hub id or model folder), an adapter on it or None, and the run it came from."""

    base: str
    adapter: Path | None = None
    run: RunFolder | None = None


@dataclass(frozen=True)
class Opened:
    """A model ready to use, and where its parts came from."""

    model: PreTrainedModel
    tokenizer_source: str
    base_path: str
    adapter_name: str | None
    run: RunFolder | None
    renderer_path: Path | None

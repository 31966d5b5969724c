"""A model folder on this disk: found, downloaded where a hub id is named, and looked at before anything is loaded."""

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError, safe_open

from accorda.errors import Refusal
from accorda.models.quiet import quiet
from accorda.quantization import Format, declared_format
from accorda.recipe.types import BUNDLED
from accorda.runs.near import near

logger = logging.getLogger(__name__)

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
WEIGHTS = "*.safetensors"
FILES = ["*.json", WEIGHTS, "*.model", "*.txt", "*.jinja", "*.tiktoken"]
NOT_FILES = ["*/*", "consolidated*"]  # other formats of the same weights
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def model_folder(path: str | Path, *, code: bool = False, weights: bool = True) -> Path:
    """The folder `path` names: the bundled model's, itself, or the download of a hub id, which alone uses the network.

    `code`: download Python files too; `weights`: those. Raises Refusal where there is no such folder and no such id.
    """
    if str(path) == BUNDLED:
        return Path(__file__).parent / BUNDLED
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise Refusal(f"model: {path} is a file; name the folder that holds config.json and the weights")
    if not HUB_ID.fullmatch(str(path)):
        raise Refusal(f"model: there is no folder {path}")
    try:
        with quiet():
            patterns = [*FILES, "*.py"] if code else FILES
            patterns = [name for name in patterns if weights or name != WEIGHTS]
            return Path(snapshot_download(str(path), allow_patterns=patterns, ignore_patterns=NOT_FILES))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise Refusal(f"model: no folder {path} here, and the hub did not give it: {one_line(error)}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """The content of config.json; Refusal: missing, broken, without a model type, or quantized as we cannot read."""
    path = folder / "config.json" if folder.is_dir() else folder
    if not folder.exists():
        found = near(folder, lambda each: each.is_dir() or each.suffix == ".json")
        raise Refusal(f"model: {folder}: no such file or folder" + (f"; did you mean {found}?" if found else ""))
    if not path.is_file():
        adapter = (folder / "adapter_config.json").is_file()
        hint = "it holds an adapter, not a model" if adapter else "it is not a model folder"
        raise Refusal(f"model: {folder} has no config.json: {hint}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refusal(f"{path}: not valid JSON: {one_line(error)}") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise Refusal(f"{path}: has no model_type, so nothing says which architecture this is")
    if config.get("quantization_config") and stored_format(config) is None:
        method = config["quantization_config"].get("quant_method", "some format")
        raise Refusal(
            f"{path}: the weights are already quantized ({method}); take the dense model and model.quantization"
        )
    return config


def stored_format(config: Mapping[str, Any]) -> Format | None:
    """The number format that config.json says the weights lie in, of those that can be read; None for dense ones."""
    return declared_format(config.get("quantization_config") or {})


def declared_dtype(config: Mapping[str, Any]) -> str | None:
    """The dtype that config.json says to load into, which may be wider than the files': "float32", ... or None."""
    named = str(config.get("dtype") or config.get("torch_dtype")).removeprefix("torch.")
    return named if named in DTYPES.values() else None


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, each readable to its end; Refusal otherwise. Pickle files are never opened."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        files = [folder / "model.safetensors"]
    elif index.is_file():
        files = [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    else:
        raise Refusal(_no_weights(folder))
    for file in files:
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise Refusal(
                f"{file}: not a whole safetensors file: {one_line(error)}; copy or download it again"
            ) from error
    return files


def checkpoint_dtype(files: list[Path]) -> str:
    """The dtype of most numbers in the files: "float32", "bfloat16" or "float16"."""
    sizes: Counter[str] = Counter()
    for file in files:
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                part = tensors.get_slice(name)
                size = 1
                for length in part.get_shape():
                    size *= length
                sizes[part.get_dtype()] += size
    return next((DTYPES[name] for name, _ in sizes.most_common() if name in DTYPES), "float32")


def one_line(error: BaseException, most: int = 200) -> str:
    """An error's message on one line, cut where it is long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else f"{text[:most]}..."


def _no_weights(folder: Path) -> str:
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if not pickles:
        return f"model: {folder} has no safetensors weights (model.safetensors)"
    convert = f"AutoModelForCausalLM.from_pretrained('{folder}').save_pretrained('{folder}')"
    return (
        f"model: {folder} holds pickle weights only ({pickles[0]}), which can run code when opened; where you trust "
        f'them, convert them once: python -c "from transformers import AutoModelForCausalLM; {convert}"'
    )

"""Open whatever a user may name as a model: a hub id, a model folder, an adapter folder, a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accorda.errors import Refusal
from accorda.methods.install import freeze
from accorda.methods.locate import Place, adapter_folder, locate
from accorda.methods.storage import load_adapter, read_header
from accorda.models import load, tokenizer
from accorda.models.configuration import Head, configuration
from accorda.models.labels import HEADED, Labels
from accorda.runs.layout import RunFolder

ADAPTER = "default"  # what an opened adapter is called on its model
RENDERER = "renderer.json"


@dataclass(frozen=True)
class Opened:
    """A model, and where its parts came from. `base_path` and `tokenizer_source` are folders or hub ids."""

    model: PreTrainedModel
    tokenizer_source: str
    base_path: str | None
    adapter_name: str | None
    run: RunFolder | None
    renderer_path: Path | None


class Loading(TypedDict, total=False):
    """What is passed on to `load_model`, with its meanings and defaults."""

    quantization: str
    double_quantization: bool
    dtype: str
    device: str
    head: Head | Labels
    config: str | Path | Mapping[str, Any] | None
    seed: int
    trust_remote_code: bool


def open_model(
    path: str | Path | None,
    *,
    adapter: str | Path | None = None,
    trainable: bool = False,
    **loading: Unpack[Loading],
) -> Opened:
    """Load what `path` names, in eval mode; its adapter, if there is one, is put on the frozen base as "default".

    Args:
        path: a model folder, adapter folder, complete run or hub id. With `config`: where the tokenizer is, or None.
        adapter: an adapter folder, run or hub id whose adapter goes onto `path`, which must then be its base.
        trainable: whether the adapter can be trained further; a language model's then also under a new head.
        loading: quantization, double_quantization, dtype, device, head, config, seed, trust_remote_code, for the base
            as in `load_model`; without a head, that of what was stored: a classifier comes back as one.

    Raises:
        Refusal: in one line, what is missing, unfinished, broken or does not fit.
    """
    config = loading.get("config")
    if "head" not in loading:
        stored = head_of(path, adapter) if config is None and path is not None else None
        loading |= Loading(head=stored or "language")
    place = None if path is None else locate(path) if config is None else Place(str(path))
    ours = place.adapter if place is not None else None
    if adapter is not None:
        if ours is not None:
            raise Refusal(f"model.adapter = {adapter}: {path} brings one of its own; name its base as model.path")
        ours = adapter_folder(adapter)
    model = load.load_model(place.base if place is not None else None, **loading)
    if ours is not None:
        load_adapter(freeze(model), ours, ADAPTER, trainable, keep_head=trainable)
    return _opened(model, place, ours, config)


def load_model(
    path: str | Path,
    *,
    adapter: str | Path | None = None,
    quantization: str = "none",
    double_quantization: bool = True,
    dtype: str = "auto",
    device: str = "auto",
    head: Head | Literal["auto"] = "auto",
    labels: Sequence[str] | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """The model of a hub id, model folder, adapter folder or run, in eval mode, with its adapter active.

    Args:
        path: what to load; an adapter or run brings its base along.
        adapter: an adapter folder, run or hub id to put onto `path`, which must then be its base.
        quantization: the number format of the base's linear layers: none, int8 or nf4.
        double_quantization: of nf4: the scales in 8 bit.
        dtype: of the base; "auto" is the checkpoint's.
        device: "auto" is CUDA where there is one.
        head: "language", "classification" or "reward"; "auto" is "classification" for what was stored as a classifier,
            else "language".
        labels: the classes that a new classification head tells apart, in the order of its outputs; empty for a number.
            Default: those stored, else those of config.json.
        trust_remote_code: lets a checkpoint run its own code.

    Raises:
        Refusal: in one line, what is missing, unfinished, broken or does not fit.
    """
    loading = Loading(dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    loading |= Loading(quantization=quantization, double_quantization=double_quantization)
    if labels is not None:
        loading["head"] = Labels(tuple(labels))
    elif head == "classification":
        loading["head"] = head_of(path, adapter) or head
    elif head != "auto":
        loading["head"] = head
    return open_model(path, adapter=adapter, **loading).model


def head_of(path: str | Path, adapter: str | Path | None = None) -> Labels | None:
    """What the classification head tells apart that something was stored with; None where it has none.

    Raises:
        Refusal: as `open_model`.
    """
    place = locate(path)
    ours = place.adapter if adapter is None else adapter_folder(adapter)
    labels = None if ours is None else read_header(ours)["labels"]
    if labels is not None:
        return Labels(tuple(labels))
    content = load.read_config(load.model_folder(place.base, weights=False))
    headed = any(str(name).endswith(HEADED) for name in content.get("architectures") or ())
    return Labels.of(configuration(content, str(place.base))) if headed else None


def load_tokenizer(path: str | Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a hub id, model folder, adapter folder or run: its own, or else its base's.

    Raises:
        Refusal: as `load_model`, or there is no tokenizer.
    """
    place = locate(path)
    return tokenizer.load_tokenizer(_tokenizer_source(place, place.adapter), trust_remote_code)


def _opened(
    model: PreTrainedModel, place: Place | None, adapter: Path | None, config: str | Path | Mapping[str, Any] | None
) -> Opened:
    source = str(config) if isinstance(config, str | Path) else ""
    renderer = next((home / RENDERER for home in _homes(place, adapter) if (home / RENDERER).is_file()), None)
    return Opened(
        model,
        _tokenizer_source(place, adapter) or source,
        place.base if place is not None else None,
        ADAPTER if adapter is not None else None,
        place.run if place is not None else None,
        renderer,
    )


def _tokenizer_source(place: Place | None, adapter: Path | None) -> str:
    """The first home with a tokenizer; the base, which may be a hub id, where there is none."""
    files = tokenizer.FILES
    own = (str(home) for home in _homes(place, adapter) if any((home / name).is_file() for name in files))
    return next(own, place.base if place is not None else "")


def _homes(place: Place | None, adapter: Path | None) -> list[Path]:
    """The folders that may hold tokenizer and renderer: the adapter's, or else the run's, or else the base's."""
    base = None if place is None else Path(place.base)
    run = None if place is None or place.run is None else place.run.path
    return [home for home in (adapter or base, run, base) if home is not None]

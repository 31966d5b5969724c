"""Save a whole model as a folder that plain transformers reads: weights, config, generation settings, tokenizer."""

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.hub import CHAT_TEMPLATE_FILE

from accorda.errors import Refusal
from accorda.methods.install import installed, own_tensors
from accorda.methods.routing import use
from accorda.methods.storage.base import fingerprint_of
from accorda.methods.targets import is_ours
from accorda.models import packed
from accorda.models.fingerprint import note_base
from accorda.models.folder import weight_files
from accorda.models.load import pad_token_id
from accorda.models.quiet import quiet
from accorda.runs.replace import recover, replaced


class Template(Protocol):
    """A chat template."""

    @property
    def source(self) -> str:
        """In Jinja."""
        ...


class Renderer(Protocol):
    """What turned rows into ids in training. `kind`: "messages" where the rows were conversations."""

    @property
    def kind(self) -> str | None: ...

    @property
    def template(self) -> Template: ...

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The ids that end an answer."""
        ...

    def save(self, folder: Path | str) -> None:
        """Write its file into a folder."""
        ...


def companions(tokenizer: PreTrainedTokenizerBase, renderer: Renderer | None = None) -> Callable[[Path], None]:
    """What makes a folder complete: the tokenizer with its template, and the renderer. For `beside` of save_adapter.

    A model tuned on conversations gets the template they were rendered by, for other programs too.
    """

    def write(folder: Path) -> None:
        tokenizer.save_pretrained(str(folder))
        if renderer is not None:
            renderer.save(folder)
            if renderer.kind == "messages" and not isinstance(tokenizer.chat_template, dict):
                (folder / CHAT_TEMPLATE_FILE).write_text(renderer.template.source, encoding="utf-8")

    return write


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    *,
    name: str | None = None,
    renderer: Renderer | None = None,
) -> None:
    """Write a merged or fully trained model, its tokenizer and the renderer to a folder, whole or not at all.

    Weights in a number format are written as they are, in bitsandbytes' layout.

    generation_config.json names every id that ends an answer: the model's own, the tokenizer's and the renderer's, so
    that a server stops where training ended a turn.

    Args:
        model: with the named adapter, or without a name with nothing but one that trains its parameters alone.
        tokenizer: saved with its chat template.
        folder: a new or empty folder, or one that holds a model, which is replaced.
        name: the adapter whose values are written. Default: the one on the model.
        renderer: saved beside, if given.

    Raises:
        Refusal: an adapter that is not merged; a folder with other things.
    """
    folder = Path(folder)
    recover(folder)
    if folder.exists() and not (folder.is_dir() and ((folder / "config.json").is_file() or not any(folder.iterdir()))):
        raise Refusal(f"{folder}: not a model folder and not empty; save to a new folder")
    shown = _shown(model, name)
    stops = renderer.stop_ids if renderer is not None else ()
    settings = _generation_settings(model, tokenizer, stops)
    with quiet(), replaced(folder) as new, use(model, shown), _generating(model, settings):
        own = {key: tensor for key, tensor in model.state_dict().items() if not is_ours(key)}
        model.save_pretrained(new, state_dict=packed.packed_state(model, own))
        _tell_format(model, new)
        companions(tokenizer, renderer)(new)


def _tell_format(model: PreTrainedModel, folder: Path) -> None:
    """Where weights lie in a number format: say so in config.json, and which dense checkpoint they were made from."""
    said, path = packed.settings(model), folder / "config.json"
    if said is None:
        return
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"quantization_config": said}, indent=2) + "\n", encoding="utf-8")
    noted = fingerprint_of(model)
    if "sha256" in noted:
        note_base(noted, folder, weight_files(folder))


def _shown(model: PreTrainedModel, name: str | None) -> str | None:
    """The adapter whose values of the model's parameters are written; None for the model's own."""
    on_it, own = installed(model), model.state_dict().keys()
    for other in [name] if name else on_it:
        if not own_tensors(model, other).keys() <= own:
            raise Refusal(f"adapter {other!r} is not merged: merge it into the model first, or save it as an adapter")
    if name is None and len(on_it) > 1:
        raise Refusal(f"adapters {', '.join(on_it)} have values of this model's parameters: name one of them")
    return name or next(iter(on_it), None)


def _generation_settings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, stop_ids: tuple[int, ...]
) -> GenerationConfig | None:
    """The model's settings with every id that ends an answer, and valid; None for a model that does not generate."""
    if not model.can_generate() or model.generation_config is None:
        return None
    settings = copy.deepcopy(model.generation_config)
    named = (_ids(settings.eos_token_id), _ids(tokenizer.eos_token_id), stop_ids)
    ends = list(dict.fromkeys(number for numbers in named for number in numbers))
    settings.eos_token_id = ends[0] if len(ends) == 1 else ends or None
    if settings.pad_token_id is None:
        settings.pad_token_id = pad_token_id(tokenizer, model)
    settings._from_model_config = False  # else transformers 4 takes them from config.json instead
    try:
        settings.validate(strict=True)
    except ValueError:  # some published checkpoints sample by their numbers and say they do not; none may be saved so
        settings.do_sample = True
    return settings


def _ids(value: Any) -> tuple[int, ...]:
    """None, an id or several, as ids."""
    return () if value is None else (value,) if isinstance(value, int) else tuple(value)


@contextmanager
def _generating(model: PreTrainedModel, settings: GenerationConfig | None) -> Iterator[None]:
    """The model with these generation settings."""
    if settings is None:
        yield
        return
    before, model.generation_config = model.generation_config, settings
    try:
        yield
    finally:
        model.generation_config = before

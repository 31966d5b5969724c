"""The model of a run with its method installed: opened, frozen, prepared, and only what the method says trains."""

from typing import Any

from accorda.errors import Refusal
from accorda.methods import registry
from accorda.methods.contract import Method
from accorda.methods.install import freeze, install, installed, own_tensors, remove, trainable
from accorda.methods.open import Opened, open_model
from accorda.methods.prepare import prepare
from accorda.methods.storage import load_adapter
from accorda.models.labels import Labels
from accorda.recipe.sections import Recipe
from accorda.runs.layout import RunFolder

ADAPTER = "default"


def read_method(recipe: Recipe) -> tuple[Method, Recipe]:
    """The method of the recipe, and the recipe with every setting of it spelled out."""
    method = registry.read(recipe.method, origins=recipe.origins)
    settings = {key: value for key, value in registry.write(method).items() if key != "name"}
    return method, recipe.with_settings("method", settings)


def open_base(recipe: Recipe, path: Any = None, labels: Labels | None = None) -> Opened:
    """What `model` names (or the trained model at `path`, in its place), with its adapter ready to be trained on.

    `labels`: what a classification head tells apart; None for a language head.
    """
    section = recipe.model
    if section.config is None:
        recipe.require("model.path", "name a model folder, a hub id, an adapter or a run with --model")
    return open_model(
        path or section.path,
        adapter=section.adapter,
        quantization=section.quantization,
        dtype=section.dtype,
        head=labels or "language",
        config=section.config if path is None else None,  # the weights that a run trained are random no more
        seed=recipe.training.seed,
        trust_remote_code=section.trust_remote_code,
        trainable=True,
    )


def continued(recipe: Recipe, method: Method, opened: Opened) -> tuple[Method, Recipe]:
    """Where the model brings an adapter, its method is the run's; another one asked for is refused."""
    if opened.adapter_name is None:
        return method, recipe
    own = installed(opened.model)[opened.adapter_name][0]
    asked = [name for name, origin in recipe.origins.items() if name.startswith("method.") and given(origin)]
    if asked and own != method:
        raise Refusal(
            f"{asked[0]} ({recipe.origin(asked[0])}): {recipe.model.path} brings an adapter of {registry.name_of(own)} "
            "with other settings; leave method out to continue it, or merge it first with: accorda merge"
        )
    return own, recipe.with_value("method", registry.write(own), "auto: the adapter that is continued")


def given(origin: str) -> bool:
    """Whether somebody said it, in a file, on the command line or from Python."""
    return not origin.startswith(("default", "auto"))


def put_method(method: Method, opened: Opened) -> Method:
    """Install the method on a frozen base, unless the model brought it; returns it as installed."""
    model = freeze(opened.model)
    if opened.adapter_name is None:
        method = prepare(model, method)
        install(model, method, ADAPTER)
    else:
        for tensor in own_tensors(model, opened.adapter_name).values():
            tensor.requires_grad_(tensor.is_floating_point())
    if not trainable(model):
        raise Refusal(f"method.name = {registry.name_of(method)}: nothing in this model would train")
    return method


def put_trained(method: Method, opened: Opened, folder: RunFolder) -> Method:
    """Install what a run trained, in place of a fresh start."""
    model = opened.model
    if opened.adapter_name is not None:
        remove(model, opened.adapter_name)
    freeze(model)
    if folder.adapter.is_dir():
        load_adapter(model, folder.adapter, ADAPTER, trainable=True)
        return installed(model)[ADAPTER][0]
    install(model, method, ADAPTER)
    return method

"""The model of a run with its method installed: opened, frozen, prepared, and only what the method says trains."""

from collections.abc import Iterable
from typing import Any

from transformers import PreTrainedTokenizerBase

from accorda.errors import Refusal
from accorda.methods import composition, registry
from accorda.methods.backbone import check_no_placeholders
from accorda.methods.contract import Method
from accorda.methods.install import freeze, install, installed, own_tensors, remove, told_as, trainable
from accorda.methods.open import Opened, open_model
from accorda.methods.prepare import prepare
from accorda.methods.storage import load_adapter
from accorda.methods.vocabulary import add_tokens, with_new_rows, without_new_rows
from accorda.models.labels import Labels
from accorda.models.load import load_tokenizer
from accorda.models.vocabulary import added_tokens
from accorda.recipe.sections import Recipe
from accorda.runs.layout import RunFolder

ADAPTER = "default"


Methods = tuple[Method, ...]


def read_method(recipe: Recipe) -> tuple[Methods, Recipe]:
    """The method of the recipe, or several, and the recipe with every setting of them spelled out."""
    methods = composition.read(recipe.method, origins=recipe.origins)
    settings = {key: value for key, value in composition.write(methods).items() if key != "name"}
    for key, value in settings.items():
        if len(methods) > 1 and key in recipe.method:
            recipe = recipe.with_settings(f"method.{key}", value)
    return methods, recipe.with_settings("method", settings)


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
        double_quantization=section.double_quantization,
        dtype=section.dtype,
        head=labels or "language",
        config=section.config if path is None else None,  # the weights that a run trained are random no more
        seed=recipe.training.seed,
        trust_remote_code=section.trust_remote_code,
        trainable=True,
    )


def continued(recipe: Recipe, methods: Methods, opened: Opened) -> tuple[Methods, Recipe]:
    """Where the model brings an adapter, its methods are the run's; others asked for are refused."""
    if opened.adapter_name is None:
        return methods, recipe
    own = without_new_rows(opened.model, installed(opened.model)[opened.adapter_name])
    asked = [name for name, origin in recipe.origins.items() if name.startswith("method.") and given(origin)]
    if asked and own not in (methods, tuple(method.kept() for method in methods)):
        raise Refusal(
            f"{asked[0]} ({recipe.origin(asked[0])}): {recipe.model.path} brings an adapter of "
            f"{composition.name_of(own)} "
            "with other settings; leave method out to continue it, or merge it first with: accorda merge"
        )
    return own, recipe.with_value("method", composition.write(own), "auto: the adapter that is continued")


def given(origin: str) -> bool:
    """Whether somebody said it, in a file, on the command line or from Python."""
    return not origin.startswith(("default", "auto"))


def read_tokenizer(recipe: Recipe, opened: Opened, *, grown: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of what was opened; it and the model learn the recipe's new tokens, unless they have (`grown`)."""
    tokenizer = load_tokenizer(opened.tokenizer_source, recipe.model.trust_remote_code)
    if recipe.model.added_tokens and not grown:
        if opened.adapter_name is not None:
            raise Refusal(
                f"model.added_tokens ({recipe.origin('model.added_tokens')}): {recipe.model.path} brings an adapter, "
                "which was trained without them; merge it first with: accorda merge"
            )
        add_tokens(opened.model, tokenizer, recipe.model.added_tokens, setting="model.added_tokens")
    return tokenizer


def put_method(recipe: Recipe, asked: Methods, opened: Opened, examples: Iterable[Any] = ()) -> tuple[Methods, Recipe]:
    """Install the methods on a frozen base, unless the model brought them, and beside them what trains new tokens.

    Args:
        recipe: returned with the method's settings where new tokens decided them.
        asked: as read.
        opened: the model.
        examples: what a method may learn from before it is installed: the model's inputs with labels.
    """
    model = freeze(opened.model)
    if opened.adapter_name is None:
        prepared = list[Method]()
        for method in asked:
            with told_as(method, asked):
                prepared.append(prepare(model, method, examples))
        methods = with_new_rows(model, tuple(prepared))
        install(model, methods, ADAPTER)
        if composition.name_of(asked) == "rows" and added_tokens(model) is not None and len(methods) == 1:
            recipe = recipe.with_value("method", registry.write(methods[0]), "auto: the rows of model.added_tokens")
    else:
        methods = installed(model)[opened.adapter_name]
        for tensor in own_tensors(model, opened.adapter_name).values():
            tensor.requires_grad_(tensor.is_floating_point())
    check_no_placeholders(model)
    if not trainable(model):
        raise Refusal(f"method.name = {composition.name_of(asked)}: nothing in this model would train")
    return methods, recipe


def put_trained(methods: Methods, opened: Opened, folder: RunFolder) -> Methods:
    """Install what a run trained, in place of a fresh start."""
    model = opened.model
    if opened.adapter_name is not None:
        remove(model, opened.adapter_name)
    freeze(model)
    if folder.adapter.is_dir():
        load_adapter(model, folder.adapter, ADAPTER, trainable=True)
        return installed(model)[ADAPTER]
    install(model, methods, ADAPTER)
    return methods

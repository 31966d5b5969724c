"""The bill of a run that need not be possible here: from a configuration alone, for any device, and what would help."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from accorda.data.sampler import Batches
from accorda.errors import Refusal
from accorda.methods.checkpointing import enable_checkpointing
from accorda.methods.contract import Method
from accorda.methods.locate import locate
from accorda.methods.named import require_name
from accorda.methods.open import Opened, open_model
from accorda.methods.vocabulary import grow_by
from accorda.models.attention import use_attention
from accorda.models.folder import declared_dtype, model_folder, read_config, stored_format, weight_files
from accorda.models.labels import Labels
from accorda.models.load import load_model
from accorda.models.packed import num_parameters
from accorda.models.vocabulary import added_tokens
from accorda.planning.bill import Bill, line
from accorda.planning.devices import Device, find_device
from accorda.planning.price import Priced, price
from accorda.planning.savings import changes
from accorda.quantization import number_format
from accorda.recipe.sections import Recipe
from accorda.stages import settle, tune
from accorda.stages.assumed import Found
from accorda.stages.build import make_batches
from accorda.stages.contract import find_stage
from accorda.stages.pricing import file_dtype, is_tried, judged, passes
from accorda.stages.train import as_recipe
from accorda.training.optimizers.registry import read as read_optimizer
from accorda.training.precision import Precision, choose_precision

DEPTHS = {"cpu": (3, 6), "cuda": (2, 3)}
"""Blocks of the two shallow models that stand for a deep one; what a GPU holds lies on the line from two blocks on, and
holes between tensors, which count on a CPU, come with more."""


def plan(recipe: Any = None, *, device: str | None = None, savings: bool | None = None, **keywords: Any) -> Bill:
    """The memory bill of a recipe: a path, a mapping, a `Recipe`, or keyword arguments as `accorda.train` takes them.

    No weight is read: a model folder may hold a config.json and nothing else. Without data every row is taken to be
    `data.max_length` tokens long, all of them learned. Bytes; a GB is 1e9.

    Args:
        recipe: what would be trained.
        device: `cpu` or `cuda` of this machine, or a GPU by name ("rtx-4090"); None: what a run would take.
        savings: whether to look for changes that make it smaller; None: where it does not fit.
        **keywords: the settings of `accorda.train`, in place of a recipe.

    Raises:
        Refusal: an unknown device; a model, method, setting or data that a run would refuse too.
    """
    place = find_device(device)
    settled, bill = billed(as_recipe(recipe, keywords), place)
    if savings or (savings is None and bill.fits is False):
        bill = replace(bill, changes=changes(settled, bill, lambda other: billed(other, place)[1]))
    return bill


def billed(recipe: Recipe, device: Device) -> tuple[Recipe, Bill]:
    """The recipe with everything decided that decides memory, and its bill."""
    stage = find_stage(recipe.stage)
    method, recipe = tune.read_method(recipe)
    labels = stage.labels(recipe)
    recipe = stage.settle(recipe, labels)
    opened = shape(recipe, labels)
    stage.opened(opened, recipe)
    method, recipe = tune.continued(recipe, method, opened)
    recipe = settle.settle_length(recipe, opened.model)
    recipe = settle.settle_packing(recipe, use_attention(opened.model) or stage.padded, opened.model)
    needed = recipe.data.train is not None or recipe.model.added_tokens
    tokenizer = tune.read_tokenizer(recipe, opened) if needed else None
    data = None
    if tokenizer is not None and recipe.data.train is not None:
        data = stage.read(recipe, opened.model, tokenizer, labels)
    rows, num_weights = len(data.train) if data else recipe.training.batch_size, num_parameters(opened.model)
    recipe = settle.settle_micro_batch(recipe, device, rows, opened.model)
    precision = choose_precision(recipe.training.precision, device.kind, num_weights, device.bf16)
    recipe = settle.settle_precision(recipe, precision)
    if data:
        batches = make_batches(recipe, data, "cpu")
        found = read_passes(recipe, batches, data.eval, stage.beside(recipe, data.renderer, batches))
    else:
        found = stage.kind.assumed(recipe, labels is None and opened.model.config.is_encoder_decoder)
    shallow = [cut(opened, recipe, depth, labels) for depth in DEPTHS[device.kind]] if is_uniform(opened) else []
    models = [dressed(each, recipe, method, precision) for each in (opened, *shallow)]
    for each in models:
        stage.objective(recipe)(each)  # a value model may put an adapter of its own beside the policy's
    priced = Priced(
        model=models[0],
        objective=stage.objective(recipe),
        passes=judged(stage.judges, recipe, opened.model, found.passes),
        optimizer=read_optimizer(recipe.training.optimizer, origins=recipe.origins),
        precision=precision,
        files=file_dtype(recipe, opened.base_path),
        trial=found.trial,
    )
    bill = deep(priced, models[1:]) or price(priced)
    return recipe, replace(bill, device=device.name, capacity=device.capacity)


def dressed(opened: Opened, recipe: Recipe, method: tuple[Method, ...], precision: Precision) -> PreTrainedModel:
    """A model on the meta device as training would have it."""
    use_attention(opened.model)
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        tune.put_method(recipe, method, opened)
    precision.prepare(opened.model)
    if recipe.training.gradient_checkpointing:
        enable_checkpointing(opened.model)
    return opened.model


def is_uniform(opened: Opened) -> bool:
    """Whether a model is so deep, and its blocks so much alike, that two shallow ones tell what it holds."""
    config = opened.model.config
    kinds = set(getattr(config, "layer_types", None) or ("",))
    return opened.adapter_name is None and len(kinds) == 1 and config.num_hidden_layers > 2 * DEPTHS["cpu"][-1]


def cut(opened: Opened, recipe: Recipe, depth: int, labels: Labels | None) -> Opened:
    """The same model with fewer blocks."""
    config = opened.model.config
    content = config.to_dict()
    content[config.attribute_map.get("num_hidden_layers", "num_hidden_layers")] = depth
    if content.get("layer_types"):
        content["layer_types"] = content["layer_types"][:depth]
    dtype = str(opened.model.dtype).removeprefix("torch.")
    model = load_shape(recipe, content, dtype, labels)
    if (added := added_tokens(opened.model)) is not None:
        grow_by(model, added)
    return replace(opened, model=model)


def deep(priced: Priced, shallow: Sequence[PreTrainedModel]) -> Bill | None:
    """The bill of a deep model on the line through two shallow ones; None where its parameters are not on that line."""
    sizes = [sum(p.nbytes for p in model.parameters()) for model in (*shallow, priced.model)]
    if not shallow:
        return None
    depth, (low, high) = priced.model.config.num_hidden_layers, DEPTHS[priced.precision.device_type]
    if sizes[2] != sizes[0] + (depth - low) * (sizes[1] - sizes[0]) // (high - low):
        return None
    return line((low, high), [price(replace(priced, model=model)) for model in shallow], depth)


def read_passes(recipe: Recipe, batches: Batches, evaluation: Any, beside: Batches | None) -> Found:
    """As the data has it."""
    steps = recipe.training.max_steps or batches.num_steps(recipe.training.epochs)
    return Found(passes(recipe, batches, evaluation, beside), is_tried(recipe, steps, evaluation is not None))


def shape(recipe: Recipe, labels: Labels | None) -> Opened:
    """What the recipe's model names, on the meta device; a folder needs no weights."""
    section = recipe.model
    if section.config is None:
        recipe.require("model.path", "name a model folder, a hub id, an adapter or a run with --model")
    folder = None if section.config is not None else bare(str(section.path), section.trust_remote_code)
    if folder is None:
        return open_model(
            section.path,
            adapter=section.adapter,
            quantization=section.quantization,
            double_quantization=section.double_quantization,
            dtype=section.dtype,
            head=labels or "language",
            config=section.config,
            device="meta",
            trust_remote_code=section.trust_remote_code,
            trainable=True,
        )
    config = read_config(folder)
    dtype = declared_dtype(config) or "float32" if section.dtype == "auto" else section.dtype
    stored = stored_format(config)
    if stored is not None and section.quantization == "none":
        doubled = stored is number_format(stored.name)
        recipe = recipe.with_value("model.quantization", stored.name, "auto: the checkpoint's")
        recipe = recipe.with_value("model.double_quantization", doubled, "auto: the checkpoint's")
    model = load_shape(recipe, folder, dtype, labels)
    return Opened(model, str(folder), str(folder), None, None, None)


def load_shape(recipe: Recipe, config: Any, dtype: str, labels: Labels | None) -> PreTrainedModel:
    """A model of this configuration on the meta device, under the recipe's head and in its number format."""
    model = load_model(
        None,
        config=config,
        dtype=dtype,
        quantization=recipe.model.quantization,
        double_quantization=recipe.model.double_quantization,
        head=labels or "language",
        device="meta",
    )
    if labels is not None and model.config.get_text_config().pad_token_id is None:
        model.config.get_text_config().pad_token_id = 0  # heads of decoders ask for one; its number costs nothing
    return model


def bare(path: str, code: bool) -> Path | None:
    """The folder of a model that holds no weights, a hub id's without downloading them; None for anything else."""
    require_name(path)
    try:
        folder = Path(locate(path).base) if Path(path).expanduser().exists() else Path()
    except Refusal:
        return None
    if not folder.is_dir() or folder == Path():
        folder = model_folder(path, code=code, weights=False)
    try:
        weight_files(folder)
    except Refusal:
        return folder if (folder / "config.json").is_file() and not list(folder.glob("*.bin")) else None
    return None

"""Decides what a recipe left `auto`, and writes down why: the origin of every decided value is kept."""

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import Method
from accorda.methods.registry import name_of
from accorda.models.attention import has_position_bias
from accorda.models.packed import num_parameters
from accorda.models.positions import positions
from accorda.planning.devices import Device
from accorda.recipe.rates import borrowed, learning_rates, rates_of, why_unlearned
from accorda.recipe.sections import Recipe
from accorda.recipe.words import several
from accorda.training.precision import SMALL_MODEL, Precision
from accorda.training.schedule import auto_warmup
from accorda.training.threads import choose_threads

MOST_AUTO_LENGTH = 1024
PACKED_TOKENS = {"cpu": 4096, "cuda": 16384}  # a micro-batch's tokens: enough for full matrix throughput
PACKED_TOKENS_OF_LARGE = {"cpu": 1024}  # wide products are as fast with fewer, and need a share of the memory
KEPT = 48  # bytes of activations per token, block and number of its width: 44 in the bill of LoRA on LLaMA 7B in 16 bit
FILLED = 0.7  # of what a GPU has beside the weights; gradients, states and workspace take the rest


def settle_length(recipe: Recipe, model: PreTrainedModel) -> Recipe:
    """`data.max_length`: the model's positions, at most 1024; never more than the model has."""
    most = positions(model)
    if recipe.data.max_length == "auto":
        length = min(most or MOST_AUTO_LENGTH, MOST_AUTO_LENGTH)
        why = "the model's positions" if length == most else f"at most {MOST_AUTO_LENGTH}"
        return recipe.with_value("data.max_length", length, f"auto: {why}")
    if most is not None and recipe.data.max_length > most:
        raise Refusal(
            f"data.max_length = {recipe.data.max_length} ({recipe.origin('data.max_length')}): "
            f"the model has {most} positions; use at most that"
        )
    return recipe


def settle_packing(recipe: Recipe, kept_attention: str | None, model: PreTrainedModel) -> Recipe:
    """`training.packing`: on wherever the model runs our attention function, else padded with the reason.

    T5 adds a bias by distance, which it makes for every pair of tokens of a line: 2.4 times slower packed than padded
    (one million parameters, 16 rows of 100 tokens, one core).
    """
    if recipe.training.packing == "auto" and kept_attention is None and has_position_bias(model):
        why = "auto: this model makes a bias for every pair of tokens of a line, so short lines cost less"
        return recipe.with_value("training.packing", False, why)
    if recipe.training.packing == "auto":
        why = kept_attention or "rows share lines and never see each other"
        return recipe.with_value("training.packing", kept_attention is None, f"auto: {why}")
    if recipe.training.packing and kept_attention is not None:
        raise Refusal(f"training.packing = true ({recipe.origin('training.packing')}): {kept_attention}; leave it auto")
    return recipe


def settle_micro_batch(recipe: Recipe, device: Device, most_rows: int, model: PreTrainedModel) -> Recipe:
    """`training.micro_batch_size`, the rows of `max_length` in one forward pass: what fills the device, and fits."""
    if recipe.training.micro_batch_size != "auto":
        return recipe
    length = recipe.data.max_length
    assert isinstance(length, int)
    enough = PACKED_TOKENS if num_parameters(model) <= SMALL_MODEL else PACKED_TOKENS | PACKED_TOKENS_OF_LARGE
    tokens = enough[device.kind]
    if device.kind == "cuda":
        tokens = min(tokens, tokens_beside(model, device.capacity))
    rows = max(1, min(tokens // length, recipe.training.batch_size, most_rows))
    why = f"auto: about {max(tokens, length)} tokens in one forward pass on {device.name}"
    return recipe.with_value("training.micro_batch_size", rows, why)


def tokens_beside(model: PreTrainedModel, capacity: int) -> int:
    """Tokens whose activations a GPU of that many bytes holds beside the weights, without gradient checkpointing."""
    config = model.config.get_text_config()
    per_token = KEPT * config.hidden_size * config.num_hidden_layers
    room = capacity - sum(parameter.nbytes for parameter in model.parameters())
    return max(0, round(FILLED * room)) // per_token


def settle_rate(recipe: Recipe, methods: Sequence[Method], size: int, encoder_decoder: str | None = None) -> Recipe:
    """`training.learning_rate`: the method's rate at this stage, measured for models of its size, else published.

    An `encoder_decoder`, by its type, has rates of its own: T5 and BART differ from decoders and from each other. A
    method without a rate takes that of its `rate_of`. Of several methods the lowest rate is taken.
    """
    if recipe.training.learning_rate != "auto":
        return recipe
    table = learning_rates()
    small = size <= table["small"]["most_parameters"]
    rates = rates_of(table, recipe.stage, size)
    if encoder_decoder is not None:
        rates = {} if small else table["encoder_decoder"].get(encoder_decoder, {}).get(recipe.stage, {})
    relatives = {name_of(method): method.rate_of for method in methods}
    rates = borrowed(table, recipe.stage, size, rates, relatives)
    found = {}
    for name in relatives:
        if name not in rates:
            kind = "a small " if small else ""
            model = "" if encoder_decoder is None else f" for {kind}{encoder_decoder}"
            why = why_unlearned(table, recipe.stage, size, name) if encoder_decoder is None else ""
            raise Refusal(
                f"training.learning_rate = auto: no rate is known for {name} at stage {recipe.stage}{model}{why}; "
                "give one with --lr"
            )
        found[name] = rates[name]
    lowest = min(found, key=lambda name: found[name]["rate"])
    whose = f"the lowest of its methods', {lowest}: " if len(found) > 1 else ""
    return recipe.with_value("training.learning_rate", found[lowest]["rate"], f"auto: {whose}{found[lowest]['origin']}")


def settle_warmup(recipe: Recipe, num_steps: int) -> Recipe:
    """`training.warmup_steps`: 3% of the run, at most 100 steps."""
    if recipe.training.warmup_steps != "auto":
        return recipe
    steps = auto_warmup(recipe.training.schedule, num_steps)
    return recipe.with_value("training.warmup_steps", steps, f"auto: 3% of {several(num_steps, 'step')}, at most 100")


def settle_precision(recipe: Recipe, precision: Precision) -> Recipe:
    """`training.precision` as chosen, with the reason."""
    if precision.reason is None:
        return recipe
    return recipe.with_value("training.precision", precision.name, precision.reason)


def settle_threads(recipe: Recipe, trial: Callable[[], object]) -> Recipe:
    """`training.threads`: times one forward and backward pass and sets what is faster; sums depend on the number."""
    if recipe.training.threads == "auto":
        threads = choose_threads(trial)
        return recipe.with_value("training.threads", threads.number, threads.reason)
    torch.set_num_threads(recipe.training.threads)
    return recipe


def default_device() -> str:
    """Where models go unless told otherwise."""
    return "cuda" if torch.cuda.is_available() else "cpu"

"""The base of a run that trained every parameter: its files hold no adapter that could be left out."""

import torch
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.open import open_model
from accorda.methods.routing import routing
from accorda.methods.vocabulary import add_tokens
from accorda.models.load import load_tokenizer
from accorda.recipe.sections import ModelSection


def base_of(section: ModelSection) -> PreTrainedModel:
    """The model that a recipe's run started from.

    Raises:
        Refusal: it started from random weights, or its base is no longer there.
    """
    if section.base is None:
        raise Refusal("the run started from random weights, which are no base to compare with")
    options = {"adapter": section.adapter, "quantization": section.quantization, "dtype": section.dtype}
    options["double_quantization"] = section.double_quantization
    opened = open_model(section.base, trust_remote_code=section.trust_remote_code, **options)
    if section.added_tokens:
        tokenizer = load_tokenizer(opened.tokenizer_source, section.trust_remote_code)
        add_tokens(opened.model, tokenizer, section.added_tokens, setting="model.added_tokens")
    return opened.model


@torch.no_grad()
def restore_base(model: PreTrainedModel, base: PreTrainedModel) -> None:
    """Give the base's own values back to parameters that an adapter trains.

    Raises:
        Refusal: the model was told not to keep the base's values.
    """
    values = dict(base.named_parameters(remove_duplicate=False))
    for original in routing(model).originals:
        original.value_of(None).copy_(values[original.name])

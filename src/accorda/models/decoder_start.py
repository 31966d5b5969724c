"""The token that an encoder-decoder's decoder begins with, checked against how the model itself shifts labels.

    decoder input = [start, y_1, ..., y_(T-1)]        for the labels y (T,)

mBART puts the last label in front instead, which is the same where answers end with the token they begin with.
"""

import torch
from transformers import PreTrainedModel

from accorda.errors import Refusal

PROBE = [3, 4]


def decoder_start(model: PreTrainedModel) -> int | None:
    """The id that stands before every answer; None for a model of one stack.

    Raises Refusal where the model names none, or shifts labels in another way than to put that id in front: then it
    would be trained on other inputs than those it writes behind.
    """
    if not model.config.is_encoder_decoder:
        return None
    start = named_start(model)
    shifted = _shifted(model)
    if shifted is not None and shifted != [start, *PROBE]:
        raise Refusal(
            f"model: {model.config.model_type} begins an answer with token {start} and is trained behind token "
            f"{shifted[0]}; set decoder_start_token_id in its config.json to the one it was trained with"
        )
    return start


def named_start(model: PreTrainedModel) -> int:
    """The id that the model's generation settings or configuration name, in transformers' own order."""
    sources = (getattr(model, "generation_config", None), model.config)
    for name in ("decoder_start_token_id", "bos_token_id"):
        for source in sources:
            if isinstance(found := getattr(source, name, None), int):
                return found
    raise Refusal(f"model: {model.config.model_type} names no decoder_start_token_id; set it in its config.json")


def forced_first(model: PreTrainedModel) -> int | None:
    """The id that every answer must begin with, where the model's settings force one (BART's beginning of text)."""
    for source in (getattr(model, "generation_config", None), model.config):
        if isinstance(found := getattr(source, "forced_bos_token_id", None), int):
            return found
    return None


def _shifted(model: PreTrainedModel) -> list[int] | None:
    """What the model makes of the probe and an end as labels; None where it has no rule of its own."""
    rule = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if rule is None:
        return None
    ends = model.config.eos_token_id
    end = ends[0] if isinstance(ends, list) else ends
    try:
        with torch.device("cpu"):
            return rule(torch.tensor([[*PROBE, 0 if end is None else end]])).reshape(-1).tolist()
    except (ValueError, TypeError, RuntimeError) as error:
        raise Refusal(f"model: {model.config.model_type} cannot shift labels: {' '.join(str(error).split())}") from None

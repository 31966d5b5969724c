"""How many tokens a model has positions for."""

from transformers import PreTrainedModel

from accorda.models.attention import first_position
from accorda.models.roles import backbones

NAMES = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")


def positions(model: PreTrainedModel) -> int | None:
    """The longest input the model was made for; None where its configuration sets no bound.

    Fewer than its position embeddings where it counts from behind the padding index (RoBERTa). T5 counts distances, not
    positions: its `n_positions` is how long its texts were when it was made, and no bound.
    """
    config = model.config.get_text_config(decoder=True)
    if config.is_encoder_decoder and not hasattr(config, NAMES[0]):
        return None
    found = [getattr(config, name, None) for name in NAMES]
    most = next((value for value in found if isinstance(value, int) and value > 0), None)
    return None if most is None else most - max(first_position(stack) for stack in backbones(model).values())

"""Falcon: `query_key_value` in three layouts.

New decoder: per key/value head its queries, its key, its value. Multi-query: all queries, the one key, the one value.
Otherwise (with alibi): head after head its query, key and value.
"""

from torch import Tensor, arange
from transformers import FalconConfig


def fused(config: FalconConfig, role: str, num_rows: int) -> dict[str, Tensor]:
    """Rows of each part: (groups, queries of the group + 2, head width)."""
    if config.new_decoder_architecture:
        num_groups = config.num_kv_heads or config.num_attention_heads
    else:
        num_groups = 1 if config.multi_query else config.num_attention_heads
    width = config.hidden_size // config.num_attention_heads
    rows = arange(num_rows, device="cpu").view(num_groups, -1, width)
    return {
        "attention.query": rows[:, :-2].flatten(),
        "attention.key": rows[:, -2].flatten(),
        "attention.value": rows[:, -1].flatten(),
    }

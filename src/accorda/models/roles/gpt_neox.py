"""GPT-NeoX: `query_key_value` gives, head after head, the head's query, key and value."""

from torch import Tensor, arange
from transformers import GPTNeoXConfig


def fused(config: GPTNeoXConfig, role: str, num_rows: int) -> dict[str, Tensor]:
    """Rows of each part: (heads, 3, head width), interleaved by head."""
    rows = arange(num_rows, device="cpu").view(config.num_attention_heads, 3, -1)
    query, key, value = (part.flatten() for part in rows.unbind(1))
    return {"attention.query": query, "attention.key": key, "attention.value": value}

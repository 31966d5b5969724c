"""GPT-2: `c_attn` gives all queries, then all keys, then all values."""

from torch import Tensor, arange
from transformers import GPT2Config


def fused(config: GPT2Config, role: str, num_rows: int) -> dict[str, Tensor]:
    """Rows of each part: three equal ranges."""
    query, key, value = arange(num_rows, device="cpu").chunk(3)
    return {"attention.query": query, "attention.key": key, "attention.value": value}

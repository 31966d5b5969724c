"""Phi-3: `qkv_proj` gives all queries, all keys, all values (fewer key/value heads); `gate_up_proj` two halves."""

from torch import Tensor, arange
from transformers import Phi3Config


def fused(config: Phi3Config, role: str, num_rows: int) -> dict[str, Tensor]:
    """Rows of each part: ranges."""
    rows = arange(num_rows, device="cpu")
    if role == "mlp.gate_up":
        gate, up = rows.chunk(2)
        return {"mlp.gate": gate, "mlp.up": up}
    groups = config.num_attention_heads // (config.num_key_value_heads or config.num_attention_heads)
    width = num_rows // (groups + 2)  # rows of all keys
    query, key, value = rows.split([groups * width, width, width])
    return {"attention.query": query, "attention.key": key, "attention.value": value}

"""Names of leaves and the roles they stand for, as regular expressions on the path inside a block; first match wins."""

import re

ATTENTION_LEAVES = {
    r"(q_proj|query|q|q_lin)": "query",
    r"(k_proj|key|k|k_lin)": "key",
    r"(v_proj|value|v|v_lin)": "value",
    r"(c_attn|query_key_value|qkv_proj|Wqkv)": "qkv",
    r"(o_proj|out_proj|o|dense|c_proj|out_lin|Wo)": "output",
}
MLP_LEAVES = {
    r"(gate_proj|wi_0)": "gate",
    r"gate_up_proj": "gate_up",
    r"(up_proj|fc1|c_fc|fc_in|dense_h_to_4h|wi|wi_1|intermediate\.dense|lin1)": "up",
    r"(down_proj|fc2|c_proj|fc_out|dense_4h_to_h|wo|output\.dense|lin2)": "down",
}
# Parts of a path that say: this leaf belongs to attention, this one to cross attention.
CROSS_ATTENTION = re.compile(r"(^|\.)(encoder_attn|EncDecAttention|crossattention|cross_attn)(\.|$)")
ATTENTION = re.compile(r"(^|\.)(self_attn|attn|attention|self_attention|SelfAttention)(\.|$)")

# Norms that come after the residual addition. The same names stand before it in other types, so the type decides.
POST_NORM_TYPES = {"bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "bart"}
POST_NORMS = {
    r"(attention\.output\.LayerNorm|self_attn_layer_norm|sa_layer_norm)": "norm.attention",
    r"(encoder_attn_layer_norm|crossattention\.output\.LayerNorm)": "norm.cross_attention",
    r"(output\.LayerNorm|final_layer_norm|output_layer_norm)": "norm.mlp",
}


def linear_role(path: str) -> str | None:
    """The role of a linear layer from its path inside a block ("self_attn.q_proj" -> "attention.query"), or None."""
    cross = CROSS_ATTENTION.search(path)
    kind, leaves = ("cross_attention" if cross else "attention"), ATTENTION_LEAVES
    if not cross and not ATTENTION.search(path):
        kind, leaves = "mlp", MLP_LEAVES
    return next((f"{kind}.{role}" for leaf, role in leaves.items() if re.search(rf"(^|\.){leaf}$", path)), None)


def norm_role(path: str, model_type: str) -> str:
    """The role of a norm: "norm", or, after a residual addition, the sub-layer it closes ("norm.mlp")."""
    if model_type in POST_NORM_TYPES:
        return next((role for name, role in POST_NORMS.items() if re.fullmatch(name, path)), "norm")
    return "norm"

"""AttentionFusion: Attention Fusion: a light yet efficient late fusion mechanism for task adaptation in NLU.

Cao, Satya Prakash, Hamza, Findings of NAACL 2022, pages 857-866. Equations after a third-party implementation
(abasirat/llm-adapter, f7156a3), no official one being known.

    v_l = dropout(LN(h_l))    a = softmax_l(q . v_l)    c = GELU(sum_l a_l v_l)        h_l, v_l, q, c (D,) per token

with l from 0, the embeddings, to L, the last block.

The backbone is frozen and runs without a graph. Never merges.

init "uniform", the paper's: q is one, every normalised vector sums to zero, so all layers weigh alike. norm "vector":
LN is over the D numbers of each vector, as the paper's count of 3 D parameters implies; norm "joint", that
implementation's: over the (L + 1) D numbers of a token together, with a gain and an offset for each, 2 (L + 1) D + D
parameters, where layers with larger states weigh more from the start.

Deviations: the paper puts a task head on c; here c enters the model's own frozen head, so that a language model can be
tuned: an extension of ours. init "last_layer", ours too: the last vector is the backbone's own output, a learned bias
per layer starts with nearly all weight on it and q at zero, and GELU, whose loss of signs no frozen head was trained
on, is left out; so it starts near the base.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from accorda.methods.contract import SideMethod, SideNetwork, Traits
from accorda.models.roles import backbones, blocks
from accorda.recipe.types import Share

START_SHARE = 0.99  # of the last layer, at init "last_layer"


@dataclass(frozen=True, kw_only=True)
class AttentionFusion(SideMethod):
    """Settings of AttentionFusion."""

    paper = "doi:10.18653/v1/2022.findings-naacl.64"
    traits = Traits(mergeable=False, identity_at_init="no")

    init: Literal["uniform", "last_layer"] = "uniform"
    """where the attention over layers starts: uniform, or at the last_layer"""
    norm: Literal["vector", "joint"] = "vector"
    """what is normalised together: each layer's vector by itself, or joint, those of all layers"""
    dropout: Share = 0.15
    """share of every layer's normalised vector that is dropped while training, before the layers are weighed"""

    def build(self, model: PreTrainedModel) -> SideNetwork:
        """The query and the layer norm, for the states of the last stack."""
        last_stack = list(backbones(model))[-1]
        num_states = 1 + sum(block.stack == last_stack for block in blocks(model))
        return Fusion(self, model.get_input_embeddings().get_parameter("weight").shape[1], num_states, last_stack)


class Fusion(SideNetwork):
    """query (D,), norm (2 D, or joint 2 D of every layer), and with init "last_layer" a bias (L + 1,)."""

    def __init__(self, method: AttentionFusion, width: int, num_states: int, stack: str):
        super().__init__()
        self.stack = stack
        self.num_normalised = num_states if method.init == "uniform" else num_states - 1
        self.norm = nn.LayerNorm(width if method.norm == "vector" else [self.num_normalised, width])
        self.dropout = nn.Dropout(method.dropout)
        self.query = nn.Parameter(torch.full((width,), 1.0 if method.init == "uniform" else 0.0))
        self.bias = None
        if method.init == "last_layer":
            start = torch.zeros(num_states)
            start[-1] = math.log((num_states - 1) * START_SHARE / (1 - START_SHARE))
            self.bias = nn.Parameter(start)

    def forward(
        self, hidden_states: Sequence[Tensor], inputs: dict[str, Any], output: Any, stack: str
    ) -> Tensor | None:
        """The fused state (B, T, D) of the last stack."""
        if stack != self.stack:
            return None
        vectors = self.norm(torch.stack(tuple(hidden_states[: self.num_normalised]), dim=-2))
        if self.bias is not None:
            last = output["last_hidden_state"].detach().to(vectors.dtype)
            vectors = torch.cat([vectors, last[..., None, :]], dim=-2)
        v = self.dropout(vectors)  # (B, T, L + 1, D)
        scores = v @ self.query
        weights = (scores if self.bias is None else scores + self.bias).softmax(dim=-1)
        fused = (weights[..., None] * v).sum(dim=-2)
        return functional.gelu(fused) if self.bias is None else fused

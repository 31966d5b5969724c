"""AttentionFusion: Attention Fusion: a light yet efficient late fusion mechanism for task adaptation in NLU.

Cao, Satya Prakash, Hamza, Findings of NAACL 2022, pages 857-866. Equations after a third-party implementation
(abasirat/llm-adapter, f7156a3), no official one being known.

    v_l = dropout(LN(h_l))    a = softmax_l(q . v_l)    c = GELU(sum_l a_l v_l)        h_l, v_l, q, c (D,) per token

with l from 0, the embeddings, to L, the last block.

The backbone is frozen and runs without a graph. Never merges.

init "uniform", the paper's: q is one, every normalised vector sums to zero, so all layers weigh alike.

Deviations: the paper puts a task head on c; here c enters the model's own frozen head, so that a language model can be
tuned: an extension of ours. init "last_layer", ours too: the last vector is the backbone's own output, a learned bias
per layer starts with nearly all weight on it and q at zero, and GELU, whose loss of signs no frozen head was trained
on, is left out; so it starts near the base. Layer norm is per vector, as the paper's count of 3 D parameters implies.
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
    dropout: Share = 0.15
    """share of the fused state that is dropped while training"""

    def build(self, model: PreTrainedModel) -> SideNetwork:
        """The query and the layer norm, for the states of the last stack."""
        last_stack = list(backbones(model))[-1]
        num_states = 1 + sum(block.stack == last_stack for block in blocks(model))
        return Fusion(self, model.get_input_embeddings().get_parameter("weight").shape[1], num_states, last_stack)


class Fusion(SideNetwork):
    """query (D,), norm (2 D,), and with init "last_layer" a bias (L + 1,)."""

    def __init__(self, method: AttentionFusion, width: int, num_states: int, stack: str):
        super().__init__()
        self.stack = stack
        self.norm = nn.LayerNorm(width)
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
        vectors = [self.norm(state) for state in hidden_states]
        if self.bias is not None:
            vectors[-1] = output["last_hidden_state"].detach().to(vectors[-1].dtype)
        v = self.dropout(torch.stack(vectors, dim=-2))  # (B, T, L + 1, D)
        scores = v @ self.query
        weights = (scores if self.bias is None else scores + self.bias).softmax(dim=-1)
        fused = (weights[..., None] * v).sum(dim=-2)
        return functional.gelu(fused) if self.bias is None else fused

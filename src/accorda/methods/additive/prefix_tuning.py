"""Prefix-tuning: Optimizing Continuous Prompts for Generation. Li, Liang, 2021, arXiv:2101.00190, section 4.

    K' = [P_K; K]    V' = [P_V; V]            in every attention module: P_K, P_V (H_kv, P, d_h) before keys and values
    P_K, P_V of all modules = W_2 tanh(W_1 E + b_1) + b_2        E (P, D), W_1 (k, D), W_2 (sum of 2 H_kv d_h, k)

The second line is for training only: a saved adapter holds P_K and P_V, 2 L P H_kv d_h numbers, and trains them
directly when it goes on. An encoder-decoder has three networks: for attention in the encoder, in the decoder, across.

Starts away from the base: the prefix takes attention from the first step. Never merges.

Deviations: the prefix enters through the attention function and not through the cache, so that encoders, packed rows
and checkpointing are right; windows of sliding attention do not hide it; positions of tokens start behind it where the
class takes positions (not in T5 and BART), and T5 adds no bias to it. The start from activations of real words, which
the paper uses for little data, is left out.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.methods.contract import PromptMethod, SoftPrompt, Traits
from accorda.models.roles import attentions
from accorda.models.roles.site import Attention
from accorda.recipe.types import PositiveInt


@dataclass(frozen=True, kw_only=True)
class PrefixTuning(PromptMethod):
    """Settings of prefix-tuning."""

    paper = "arXiv:2101.00190"
    traits = Traits(mergeable=False, identity_at_init="no", needs_attention=True, training_only_part=True)

    num_virtual_tokens: PositiveInt = 10
    """how many keys and values stand in front in every attention module"""
    reparametrized: bool = True
    """true: a network gives them while training, as in the paper; false: they are trained themselves, as in PEFT"""
    hidden_size: PositiveInt = 512
    """width of that network's hidden layer"""

    def __post_init__(self) -> None:
        if not self.reparametrized and self.hidden_size != type(self).hidden_size:
            raise ValueError(
                f"hidden_size = {self.hidden_size}: without a network it sets nothing; leave it out, or say "
                "reparametrized: true"
            )

    def kept(self) -> Self:
        """The keys and values themselves."""
        return replace(self, reparametrized=False, hidden_size=type(self).hidden_size)

    def build(self, model: PreTrainedModel) -> SoftPrompt:
        """The prefix of every attention module with its start values."""
        if not self.reparametrized:
            return FlatPrefix(self, attentions(model))
        width = model.get_input_embeddings().get_parameter("weight").shape[1]
        return ReparametrizedPrefix(self, attentions(model), width)


class Prefix(SoftPrompt):
    """Tables (P, sum of 2 H_kv d_h), one per kind of attention: key and value of its first module, then of the next."""

    placement = "attention"

    def __init__(self, method: PrefixTuning, places: list[Attention]):
        super().__init__()
        self.num_virtual_tokens = method.num_virtual_tokens
        self.shapes: dict[str, dict[str, tuple[int, int]]] = {}  # of a kind: (H_kv, d_h) by the module's name
        self.kinds: dict[str, list[str]] = {}  # of a stack
        for place in places:
            kind = f"{place.stack}_{place.role}".removeprefix("_")
            if kind not in self.shapes:
                self.shapes[kind] = {}
                self.kinds.setdefault(place.stack, []).append(kind)
            self.shapes[kind][place.name] = (place.num_key_value_heads, place.head_dim)

    def table(self, kind: str) -> Tensor:
        """The table of a kind."""
        raise NotImplementedError

    def num_columns(self, kind: str) -> int:
        """The width of a kind's table."""
        return sum(2 * heads * width for heads, width in self.shapes[kind].values())

    def keys_values(self, stack: str) -> dict[str, tuple[Tensor, Tensor]]:
        """(H_kv, P, d_h) twice for each attention module of the stack, by its name."""
        found = {}
        for kind in self.kinds[stack]:
            shapes = self.shapes[kind]
            parts = iter(self.table(kind).split([heads * width for heads, width in shapes.values() for _ in "kv"], 1))
            for name, shape in shapes.items():
                key, value = (next(parts).unflatten(1, shape).transpose(0, 1) for _ in "kv")
                found[name] = (key, value)
        return found


class FlatPrefix(Prefix):
    """prefixes: the tables."""

    def __init__(self, method: PrefixTuning, places: list[Attention]):
        super().__init__(method, places)
        shapes = {kind: (self.num_virtual_tokens, self.num_columns(kind)) for kind in self.shapes}
        self.prefixes = nn.ParameterDict({kind: nn.Parameter(torch.randn(shape)) for kind, shape in shapes.items()})

    def table(self, kind: str) -> Tensor:
        """The table of a kind."""
        return self.prefixes[kind]


class ReparametrizedPrefix(Prefix):
    """networks: what gives the table of each kind."""

    def __init__(self, method: PrefixTuning, places: list[Attention], width: int):
        super().__init__(method, places)
        sizes = (self.num_virtual_tokens, width, method.hidden_size)
        self.networks = nn.ModuleDict({kind: Network(*sizes, self.num_columns(kind)) for kind in self.shapes})

    def table(self, kind: str) -> Tensor:
        """The table of a kind."""
        return self.networks[kind]()

    @torch.no_grad()
    def kept(self) -> dict[str, Tensor]:
        """The tables."""
        return {f"prefixes.{kind}": self.table(kind) for kind in self.shapes}


class Network(nn.Module):
    """embeddings E (P, D) and the two layers."""

    def __init__(self, num_virtual_tokens: int, width: int, hidden_size: int, num_columns: int):
        super().__init__()
        self.embeddings = nn.Parameter(torch.randn(num_virtual_tokens, width))
        self.inner, self.outer = nn.Linear(width, hidden_size), nn.Linear(hidden_size, num_columns)

    def forward(self) -> Tensor:
        """(P, columns)."""
        return self.outer(torch.tanh(self.inner(self.embeddings)))

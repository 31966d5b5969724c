"""LoRA+: Efficient Low Rank Adaptation of Large Models. Hayou, Ghosh, Yu, 2024, arXiv:2402.12354.

    y = W x + b + (alpha / rank) * B A dropout(x)        W (O, I) frozen, A (R, I), B (O, R)
    learning rate of B = ratio * learning rate of A

B starts at zero and A does not, so in wide models one rate for both leaves A or B almost untrained.

Starts as the base exactly: A random, B zero. Merges as LoRA does: only training differs.

Deviations: the recipe's learning rate is A's. The paper finds ratios of about 16 best where B is much too slow, 2 to 4
on easier tasks. Its code gives embeddings a rate of their own; embeddings are refused here.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from accorda.errors import Refusal
from accorda.methods.contract import Adapter, Base, ModuleMethod, Traits
from accorda.methods.maths import low_rank
from accorda.models.roles import Site, is_linear
from accorda.recipe.types import PositiveFloat, PositiveInt, Share


@dataclass(frozen=True, kw_only=True)
class LoRAPlus(ModuleMethod):
    """Settings of LoRA+: those of LoRA, and how much faster B learns."""

    paper = "arXiv:2402.12354"
    traits = Traits(mergeable=True, identity_at_init="exact")

    rank: PositiveInt = 16
    """how many directions a layer may change in: more learn more and cost more"""
    alpha: PositiveFloat = 32.0
    """alpha / rank scales the change"""
    ratio: PositiveFloat = 16.0
    """the learning rate of B, as a multiple of that of A"""
    dropout: Share = 0.0
    """share of the inputs of A that are dropped while training"""
    init: low_rank.Start = "kaiming"
    """how A starts: kaiming or gaussian"""

    def build(self, site: Site, shared: nn.Module | None) -> Adapter:
        """A and B for one linear layer or one part of it."""
        if not is_linear(site.module):
            raise Refusal(
                f"method.target_modules: lora_plus acts on linear layers, and {site.name} ({site.role}) is none"
            )
        return LoRAPlusAdapter(site, self)

    def rate_scale(self, tensor: str) -> float:
        """The recipe's rate for A, `ratio` times as much for B."""
        return self.ratio if tensor == "lora_B" else 1.0


class LoRAPlusAdapter(Adapter):
    """A (R, I) and B (O, R)."""

    def __init__(self, site: Site, method: LoRAPlus):
        super().__init__()
        self.lora_A = low_rank.start_A(method.rank, site.in_features, method.init)
        self.lora_B = low_rank.zero_B(site.out_features, method.rank)
        self.dropout = nn.Dropout(method.dropout)
        self.scaling = method.alpha / method.rank

    def output(self, x: Tensor, y: Tensor, base: Base) -> Tensor:
        """The base's y + scaling * B A dropout(x)."""
        return low_rank.add(y, self.dropout(x), self.lora_A, self.lora_B, self.scaling)

    def merged(self, base: Base) -> tuple[Tensor, Tensor | None]:
        """W + scaling * B A."""
        return base.weight.float() + self.scaling * (self.lora_B @ self.lora_A), base.bias

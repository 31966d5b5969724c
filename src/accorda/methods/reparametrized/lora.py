"""LoRA: Low-Rank Adaptation of Large Language Models. Hu et al., 2021, arXiv:2106.09685.

    y = W x + b + (alpha / rank) * B A dropout(x)        W (O, I) frozen, A (R, I), B (O, R)

Starts as the base exactly: A random, B zero. Merges: W + (alpha / rank) * B A, added in fp32.

Deviations: the paper adapts the query and value projections of attention only; here `all-linear` is the default, which
QLoRA (arXiv:2305.14314) found to be needed to match full fine-tuning. `target_modules: [attention.query,
attention.value]` is the paper's choice. Embeddings and norms are refused.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from accorda.errors import Refusal
from accorda.methods.contract import Adapter, Base, ModuleMethod, Traits
from accorda.methods.maths import low_rank
from accorda.models.roles import Site, is_linear
from accorda.recipe.types import PositiveFloat, PositiveInt, Share


@dataclass(frozen=True, kw_only=True)
class LoRA(ModuleMethod):
    """Settings of LoRA; `alpha / rank` scales the change."""

    paper = "arXiv:2106.09685"
    traits = Traits(mergeable=True, identity_at_init="exact")

    rank: PositiveInt = 16
    """how many directions a layer may change in: more learn more and cost more"""
    alpha: PositiveFloat = 32.0
    """alpha / rank scales the change"""
    dropout: Share = 0.0
    """share of the inputs of A that are dropped while training"""
    init: low_rank.Start = "kaiming"
    """how A starts: kaiming or gaussian"""

    def build(self, site: Site, shared: nn.Module | None) -> Adapter:
        """A and B for one linear layer or one part of it."""
        if not is_linear(site.module):
            raise Refusal(f"method.target_modules: lora acts on linear layers, and {site.name} ({site.role}) is none")
        return LoRAAdapter(site, self)


class LoRAAdapter(Adapter):
    """A (R, I) and B (O, R)."""

    def __init__(self, site: Site, method: LoRA):
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

"""LN tuning: Parameter-Efficient Tuning on Layer Normalization for Pre-trained Language Models.

Qi et al., 2022, arXiv:2211.08682; for RMSNorm and decoders: Zhao et al., 2023, arXiv:2312.11420.

    y = gamma * normalised(x) + beta        gamma (D,), beta (D,) trained; RMSNorm has gamma only

Starts as the base exactly. Merging makes the trained values the base's.

Deviations: none. Norms of queries and keys inside attention (Qwen3) are norms and train too.
"""

from dataclasses import dataclass

from torch import nn

from accorda.methods.contract import ParameterMethod, Traits
from accorda.models.roles import Site


@dataclass(frozen=True, kw_only=True)
class LayerNorm(ParameterMethod):
    """LN tuning has no settings."""

    paper = "arXiv:2211.08682"
    traits = Traits(mergeable=True, identity_at_init="exact")

    def selects(self, name: str, parameter: nn.Parameter, module: nn.Module, site: Site | None) -> bool:
        """Gains and offsets of every normalisation layer."""
        return site is not None and site.role.partition(".")[0] == "norm"

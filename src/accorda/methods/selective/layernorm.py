"""LN tuning: Parameter-Efficient Tuning on Layer Normalization for Pre-trained Language Models.

Qi et al., 2022, arXiv:2211.08682; for RMSNorm and decoders: Zhao et al., 2023, arXiv:2312.11420.

    y = gamma * normalised(x) + beta        gamma (D,), beta (D,) trained; RMSNorm has gamma only

Starts as the base exactly. Merging makes the trained values the base's.

Deviations: none. Norms of queries and keys inside attention (Qwen3) are norms and train too.
"""

from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from accorda.methods.contract import ParameterMethod, Traits
from accorda.methods.targets import base_parameters
from accorda.models.roles import sites


@dataclass(frozen=True, kw_only=True)
class LayerNorm(ParameterMethod):
    """LN tuning has no settings."""

    paper = "arXiv:2211.08682"
    traits = Traits(mergeable=True, identity_at_init="exact")

    def chosen(self, model: PreTrainedModel) -> dict[str, Tensor | None]:
        """Gains and offsets of every normalisation layer."""
        norms = {site.name for site in sites(model) if site.role.partition(".")[0] == "norm"}
        return dict.fromkeys(name for name in base_parameters(model) if name.rpartition(".")[0] in norms)

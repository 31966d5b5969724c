"""Full fine-tuning: every parameter of the base trains. Howard and Ruder, 2018, arXiv:1801.06146, for language models.

    W trained        from the checkpoint's value, every floating-point parameter, tied ones once

Starts as the base exactly. Merging makes the trained values the base's.

Deviations: by default a frozen copy of every parameter is held beside it (`keep_base`), so that the base can be run, or
restored, next to the tuned model: one more copy of the weights in memory. The paper has no such copy; without it there
is no way back. Its schedules, slanted rates and unfreezing from the top, are no part of the method here.
"""

from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from accorda.methods.contract import ParameterMethod, Traits
from accorda.methods.targets import base_parameters


@dataclass(frozen=True, kw_only=True)
class Full(ParameterMethod):
    """Settings of full fine-tuning."""

    paper = "arXiv:1801.06146"
    traits = Traits(mergeable=True, identity_at_init="exact", quantized_base=False)

    keep_base: bool = True
    """hold a frozen copy of the base beside the trained weights, to compare with and to go back to"""

    def chosen(self, model: PreTrainedModel) -> dict[str, Tensor | None]:
        """Everything."""
        return dict.fromkeys(base_parameters(model))

    @property
    def keeps_base(self) -> bool:
        """As set."""
        return self.keep_base

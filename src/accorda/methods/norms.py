"""Norms that a method trains beside its own adapters, as adapters of their own.

    y' = y + gain * y + shift        y: what the norm gives; gain (D,); shift (D,) only where the norm has an offset

Both start at zero, so the norm starts as the base's. It is what training the norm's own parameters can reach wherever
its gain is not zero, whatever the class (Gemma's multiplies by 1 + w), and rows of one batch may differ.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.methods.base import Base
from accorda.methods.contract import Adapter
from accorda.models.roles import Site, sites


def norm_sites(model: PreTrainedModel) -> list[Site]:
    """Every norm of the model, those outside blocks among them."""
    return [site for site in sites(model) if is_norm(site)]


def is_norm(site: Site) -> bool:
    """Whether the site is a norm."""
    return site.role.partition(".")[0] == "norm"


class NormAdapter(Adapter):
    """gain (D,), and shift (D,) where the norm has an offset."""

    def __init__(self, site: Site):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(site.out_features))
        self.shift = None if Base(site.module).bias is None else nn.Parameter(torch.zeros(site.out_features))

    def output(self, x: Tensor, y: Tensor, base: Base) -> Tensor:
        """The norm's y + gain * y + shift."""
        change = self.gain * y
        return y + (change if self.shift is None else change + self.shift)

"""Which module plays which role.

`resolver` finds blocks by their class and roles by the names of their leaves. A file named after a model type holds
what is particular to it: `fused(config, role, num_rows)`, the rows of each part of a fused projection.
"""

from accorda.models.roles.resolver import attentions, backbones, blocks, features, is_linear, sites
from accorda.models.roles.site import Attention, Block, Site
from accorda.models.roles.targets import find

__all__ = ["Attention", "Block", "Site", "attentions", "backbones", "blocks", "features", "find", "is_linear", "sites"]

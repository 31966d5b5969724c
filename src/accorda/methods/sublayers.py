"""The sub-layers of a block, attention and feed-forward, as places where several methods act.

A sub-layer is no module (BERT has none for its feed-forward, attention returns tuples). It is the linear at which it
begins, the linear at which it ends, and in post-LN models the norm after its residual addition.
"""

from collections.abc import Sequence

from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.models.roles import Site, find, is_linear

BEGINS = {  # the role of a sub-layer's end: the role of its beginning
    "attention.output": "attention.query",
    "cross_attention.output": "cross_attention.query",
    "mlp.down": "mlp.up",
}


def present(model: PreTrainedModel, roles: Sequence[str]) -> tuple[str, ...]:
    """Of a method's places, those that the model has: a decoder alone has no cross attention."""
    has_cross = model.config.is_encoder_decoder
    return tuple(role for role in roles if has_cross or not role.startswith("cross_attention"))


def linears(model: PreTrainedModel, targets: str | Sequence[str], method: str) -> list[Site]:
    """The linear layers that the targets name.

    Raises:
        Refusal: a target matches nothing, or something else.
    """
    found = find(model, targets)
    for site in found:
        if not is_linear(site.module):
            raise Refusal(
                f"method.target_modules: {method} acts on linear layers, and {site.name} ({site.role}) is none"
            )
    return found


def beginning(site: Site, every: Sequence[Site]) -> Site | None:
    """The linear at which the sub-layer begins that ends at the site, None where none ends there."""
    return _in_same_block(site, BEGINS.get(site.role), every)


def num_features(site: Site) -> int:
    """The width of what `beginning` receives: the model's where a sub-layer ends at the site, else the site's own."""
    return site.out_features if site.role in BEGINS else site.in_features


def closing_norm(site: Site, every: Sequence[Site]) -> Site | None:
    """The norm after the residual addition of the sub-layer that ends at the site, None in pre-LN models."""
    return _in_same_block(site, f"norm.{site.role.partition('.')[0]}" if site.role in BEGINS else None, every)


def _in_same_block(site: Site, role: str | None, every: Sequence[Site]) -> Site | None:
    return next((s for s in every if s.role == role and (s.stack, s.block) == (site.stack, site.block)), None)

"""Do the output rows that count as query, key, value, gate and up reach what their role says, and nothing else?

Judged by the model itself: keys and values are what stands in the cache afterwards, gate and up meet in the input of
the down projection.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.models.roles import Site, features, sites
from accorda.proofs.contract import Check, check, names

Change = Callable[[Tensor], Tensor]
FAR = 1e9  # beyond where any gate lets something through


def probe_fused(model: PreTrainedModel, used: dict[str, list[Tensor]]) -> Check:
    """Probes the parts of fused projections in the first block, whose layout all blocks share.

    used: by module name, the sets of output rows on which adapters act.
    """
    if not used:
        return Check("fused rows", "not applicable", "no adapter acts on a part of a fused projection")
    known = [site for site in sites(model) if site.rows is not None and site.name in used]
    wrong = [fault for site in known if site.block == known[0].block for fault in [_fault(model, site)] if fault]
    wrong += [f"the parts of {name} are not all of it" for name in used if not _is_partition(known, name)]
    wrong += [f"an adapter acts on rows of {name} that are no part of it" for name in used if _alien(known, name, used)]
    reason = f"the rows of {names([site.role for site in known], 3)} reach what their role says, and nothing else"
    return check("fused rows", not wrong, reason, names(wrong, 2))


def _is_partition(known: list[Site], name: str) -> bool:
    rows = torch.cat([site.rows for site in known if site.name == name and site.rows is not None])
    width = features(next(site.module for site in known if site.name == name))[1]
    return torch.equal(rows.sort().values, torch.arange(width))


def _alien(known: list[Site], name: str, used: dict[str, list[Tensor]]) -> bool:
    parts = [site.rows for site in known if site.name == name and site.rows is not None]
    return not all(any(torch.equal(rows.cpu(), part) for part in parts) for rows in used[name])


def _fault(model: PreTrainedModel, site: Site) -> str | None:
    part = site.role.rpartition(".")[2]
    if part in ("query", "key", "value"):
        return _attention_fault(model, site, part)
    return _mlp_fault(model, site, part)


def _attention_fault(model: PreTrainedModel, site: Site, part: str) -> str | None:
    """One added to the part's rows: in the cache every channel of that part changes, and no other."""
    plain, moved = _cached(model, site, lambda y: y), _cached(model, site, lambda y: y + 1)
    for name in ("key", "value"):
        changed = (plain[name] != moved[name]).any(dim=2)  # (B, H, K): at any token
        if name == part and not bool(changed.all()):
            return f"{site.role} of {site.name} leaves channels of its {name} as they were"
        if name != part and bool(changed.any()):
            return f"{site.role} of {site.name} changes its {name}"
    return None


def _mlp_fault(model: PreTrainedModel, site: Site, part: str) -> str | None:
    """Up rows doubled double what the down projection receives; gate rows far below zero let nothing through."""
    plain, doubled = _received(model, site, lambda y: y), _received(model, site, lambda y: 2 * y)
    shut = _received(model, site, lambda y: 0 * y - FAR)
    right = torch.allclose(doubled, 2 * plain) if part == "up" else not bool(shut.any())
    return None if right else f"{site.role} of {site.name} does not act as the {part} of its block"


def _cached(model: PreTrainedModel, site: Site, change: Change) -> dict[str, Tensor]:
    """Keys and values (B, H, T, K) of the first layer."""
    cache = _run(model, site, change).past_key_values.layers[0]
    return {"key": cache.keys, "value": cache.values}


def _received(model: PreTrainedModel, site: Site, change: Change) -> Tensor:
    """What the down projection of the site's block receives."""
    down = next(other.module for other in sites(model) if other.role == "mlp.down" and other.block == site.block)
    seen: list[Tensor] = []
    hook = down.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        _run(model, site, change)
    finally:
        hook.remove()
    return seen[0]


@torch.no_grad()
def _run(model: PreTrainedModel, site: Site, change: Change) -> Any:
    """A forward pass over a few tokens in which the site's rows are changed."""
    rows = torch.arange(0) if site.rows is None else site.rows

    def changed(module: nn.Module, args: Any, y: Tensor) -> Tensor:
        index = rows.to(y.device)
        return y.index_copy(-1, index, change(y.index_select(-1, index)))

    hook = site.module.register_forward_hook(changed)
    device = next(model.parameters()).device
    try:
        return model(input_ids=torch.tensor([[5, 11, 7, 3]], device=device), use_cache=True)
    finally:
        hook.remove()

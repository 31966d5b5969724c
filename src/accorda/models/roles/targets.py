"""What a user may name as target: roles, families of roles, module names, all linears."""

import difflib
from collections.abc import Sequence

from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.models.roles.resolver import FUSED_ROLES, is_linear, sites
from accorda.models.roles.site import Site

ALL_LINEAR = "all-linear"


def find(
    model: PreTrainedModel, target_modules: str | Sequence[str], *, setting: str = "method.target_modules"
) -> list[Site]:
    """The sites that the targets name, in the model's order, each once. `setting` is where the user named them.

    A role ("attention.query") or a family of roles ("attention") means parts of fused projections, a module name
    ("q_proj", or longer from the right) and "all-linear" (every linear inside blocks, the head excluded) whole modules.
    Raises Refusal where a target matches nothing, or a module is named whole and in part.
    """
    known = sites(model)
    targets = (target_modules,) if isinstance(target_modules, str) else tuple(target_modules)
    if not targets:
        raise Refusal(f"{setting} is empty: name a role (attention.query), a module (q_proj) or all-linear")
    chosen: dict[int, str] = {}
    for target in targets:
        matches = [number for number, site in enumerate(known) if _matches(site, target, known)]
        if not matches:
            raise Refusal(_nothing_matches(target, known, model.config.model_type, setting))
        for number in matches:
            chosen.setdefault(number, target)
    found = [known[number] for number in sorted(chosen)]
    _refuse_whole_and_part(found, setting)
    return found


def _matches(site: Site, target: str, known: list[Site]) -> bool:
    if target == ALL_LINEAR:
        return site.block >= 0 and site.rows is None and is_linear(site.module)
    if _is_role(target, known):
        family = site.role.startswith(f"{target}.") and not site.role.endswith(FUSED_ROLES)
        return site.role == target or family
    return site.rows is None and f".{site.name}".endswith(f".{target}")


def _is_role(target: str, known: list[Site]) -> bool:
    return any(site.role == target or site.role.startswith(f"{target}.") for site in known)


def _refuse_whole_and_part(found: list[Site], setting: str) -> None:
    whole = {site.name for site in found if site.rows is None}
    for site in found:
        if site.rows is not None and site.name in whole:
            raise Refusal(f"{setting} names {site.name} whole and in part ({site.role}): keep one of the two")


def _nothing_matches(target: str, known: list[Site], model_type: str, setting: str) -> str:
    roles = dict.fromkeys(site.role for site in known)
    names = dict.fromkeys(site.leaf for site in known)
    families = dict.fromkeys(role.partition(".")[0] for role in roles)
    nearest = difflib.get_close_matches(target, [*roles, *names, *families], n=4, cutoff=0.5)
    return (
        f"{setting}: {target!r} matches nothing in this {model_type} model; "
        f"{'nearest' if nearest else 'it has'}: {', '.join(nearest or [*roles])}"
    )

"""Which modules the target_modules of a PEFT adapter mean on a model, and how to write a set of modules so."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from accorda.models.roles import find, is_linear

_HUNG_ON = re.compile(r"(^|\.)(adapters|originals)")  # what methods hang on a model is no module of the base


Names = str | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The fields of a PEFT config that choose modules. A text is a regular expression, or all-linear."""

    target_modules: Names = ()
    exclude_modules: Names = ()
    layers_to_transform: int | tuple[int, ...] = ()
    layers_pattern: Names = ()

    def __post_init__(self) -> None:
        patterns = (self.layers_pattern,) if isinstance(self.layers_pattern, str) else self.layers_pattern
        texts = [names for names in (self.target_modules, self.exclude_modules) if isinstance(names, str)]
        check_patterns((*texts, *patterns))


def check_patterns(patterns: Iterable[str]) -> None:
    """Raise ValueError for what is no regular expression."""
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None


def targeted(config: Targets, model: nn.Module) -> set[str]:
    """Names of the modules that PEFT adapts on this model under these settings."""
    target, names = config.target_modules, _module_names(model)
    if isinstance(target, str) and target.lower() == "all-linear":
        found = {name for name in names if is_linear(model.get_submodule(name)) and not _is_head(model, name)}
    elif isinstance(target, str):
        found = {name for name in names if re.fullmatch(target, name)}
    else:
        found = {name for name in names if name in target or (_named(name, target) and _in_layers(name, config))}
    exclude = config.exclude_modules
    if isinstance(exclude, str):
        return {name for name in found if not re.fullmatch(exclude, name)}
    return {name for name in found if not _named(name, exclude)}


def targets_for(model: nn.Module, names: set[str]) -> list[str]:
    """`target_modules` that match exactly these modules: the last parts of their names where that suffices."""
    leaves = sorted({name.rpartition(".")[2] for name in names})
    alike = {name for name in _module_names(model) if _named(name, leaves)}
    return leaves if alike == names else sorted(names)


def our_targets(model: PreTrainedModel, paths: set[str]) -> str | tuple[str, ...]:
    """`target_modules` of ours that find exactly these modules, whole."""
    for targets in ("all-linear", tuple(targets_for(model, paths)), tuple(sorted(paths))):
        sites = find(model, targets)
        if {site.name for site in sites} == paths and all(site.rows is None for site in sites):
            return targets
    raise AssertionError(f"a module's full name does not find it: {sorted(paths)}")


def pattern_value(patterns: Mapping[str, Any], name: str, default: Any) -> Any:
    """The entry of a rank_pattern or alpha_pattern for a module: the first key that matches the end of its name."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", name)), default)


def _module_names(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_modules() if name and not _HUNG_ON.search(name)]


def _named(name: str, endings: Sequence[str]) -> bool:
    return any(f".{name}".endswith(f".{ending}") for ending in endings)


def _in_layers(name: str, config: Targets) -> bool:
    """Whether a module belongs to `layers_to_transform`; without `layers_pattern` the first number is the layer."""
    wanted = config.layers_to_transform
    if wanted == ():
        return True
    patterns = config.layers_pattern or (r"[^.]*\.[^.]*",)
    patterns = (patterns,) if isinstance(patterns, str) else patterns
    found = (re.match(rf"(?:.*?\.)??{pattern}\.(\d+)\.", name) for pattern in patterns)
    layer = next((int(match[1]) for match in found if match), None)
    return layer in ((wanted,) if isinstance(wanted, int) else wanted)


def _is_head(model: nn.Module, name: str) -> bool:
    return isinstance(model, PreTrainedModel) and model.get_submodule(name) is model.get_output_embeddings()

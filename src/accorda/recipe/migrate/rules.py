"""What may become of a key of another tool's configuration; a tool's table holds one rule per key."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from accorda.recipe.migrate.draft import Draft

Kind = Literal["mapped", "differs", "no counterpart", "dropped", "unknown"]
OFF = (None, False, "", 0, "no", "none", "no_quantization")  # values that ask for nothing
BEGINNINGS = {  # the tools' words for what else than supervised fine-tuning there is, by the name that init has for it
    **{name: name for name in ("dpo", "ipo", "kto", "orpo", "simpo", "ppo", "grpo", "rloo", "reward")},
    "rm": "reward",
    "reward_model": "reward",
    "ranking": "dpo",
    "pt": "pretrain",
    "pretraining_dataset": "pretrain",
}


def sft_only(name: object) -> str:
    """That only supervised fine-tuning is read, and the command that begins a recipe for what the tool calls so."""
    known = BEGINNINGS.get(str(name).lower())
    way_out = f"begin with: accorda init {known}" if known else "accorda init lists what a recipe can begin with"
    return f"migrate reads supervised fine-tuning only; {way_out}"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One key: the setting it becomes, or why it becomes none. `reads` turns its value into the setting's."""

    kind: Kind
    setting: str = ""
    says: str = ""
    reads: Callable[[Any], Any] = lambda value: value


def same(setting: str, reads: Callable[[Any], Any] = lambda value: value) -> Rule:
    """The key means what the setting means."""
    return Rule(kind="mapped", setting=setting, reads=reads)


def differs(setting: str, says: str, reads: Callable[[Any], Any] = lambda value: value) -> Rule:
    """The nearest setting means something else; `says` what."""
    return Rule(kind="differs", setting=setting, says=says, reads=reads)


def missing(says: str) -> Rule:
    """Nothing here does that; the key is told unless its value asks for nothing."""
    return Rule(kind="no counterpart", says=says)


def internal(says: str) -> Rule:
    """The key is about the tool's own workings, not about what is learned."""
    return Rule(kind="dropped", says=says)


def each(names: str, rule: Rule) -> dict[str, Rule]:
    """The same rule for several keys, given as words."""
    return dict.fromkeys(names.split(), rule)


def words(names: str) -> frozenset[str]:
    """Several keys, given as words."""
    return frozenset(names.split())


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One tool: how its configurations are told, what its keys become, and what it does where a key is not given.

    `signature` are keys that no other tool has; `parts` read keys that belong together and claim them; `table` holds
    every other key; `defaults` are the values that the tool uses for keys not given.
    """

    title: str
    signature: frozenset[str]
    parts: Sequence[Callable[["Draft"], None]]
    table: Mapping[str, Rule]
    defaults: Mapping[str, Any] = field(default_factory=dict)

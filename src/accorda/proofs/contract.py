"""What a proof is: a verdict, the sentence that gives its reason, and the evidence it rests on."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

Verdict = Literal["holds", "fails", "not applicable"]


@dataclass(frozen=True)
class Check:
    """One named question inside a proof, with its own verdict and reason."""

    name: str
    verdict: Verdict
    reason: str

    def to_dict(self) -> dict[str, str]:
        """The object that stands in the evidence."""
        return {"name": self.name, "verdict": self.verdict, "reason": self.reason}


@dataclass(frozen=True)
class Proof:
    """One line of proof.json.

    Raises:
        ValueError: the verdict is none of "holds", "fails", "not applicable", or the reason is empty.
    """

    name: str
    verdict: Verdict
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict) or not self.reason.strip():
            raise ValueError(f"proof {self.name}: verdict {self.verdict!r}, reason {self.reason!r}")

    def to_dict(self) -> dict[str, Any]:
        """The object of proof.json; numbers JSON has no word for are written as text."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "reason": self.reason,
            "evidence": _plain(self.evidence),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Proof":
        """The proof that `to_dict` wrote."""
        return cls(stored["name"], stored["verdict"], stored["reason"], dict(stored.get("evidence", {})))

    @classmethod
    def of_checks(cls, name: str, checks: Sequence[Check], holds: str, **evidence: Any) -> "Proof":
        """Fails if one check fails, is not applicable if none applies, else holds for the reason `holds`."""
        failed = [check for check in checks if check.verdict == "fails"]
        held = [check for check in checks if check.verdict == "holds"]
        evidence = {"checks": [check.to_dict() for check in checks], **evidence}
        if failed:
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            return cls(name, "fails", failed[0].reason + more, evidence)
        if not held:
            return cls(name, "not applicable", checks[0].reason if checks else "nothing to check", evidence)
        return cls(name, "holds", holds, evidence)


def check(name: str, holds: bool, reason_if_so: str, reason_if_not: str) -> Check:
    """A check that either holds or fails, each with its sentence."""
    return Check(name, "holds", reason_if_so) if holds else Check(name, "fails", reason_if_not)


class Prover(ABC):
    """One proof: its file in this folder is found by the registry.

    `observers` watch the run (training calls them); `prove` gives the verdict at its end; `verify` gives it again from
    the folder alone, and is `prove` where nothing had to be watched.
    """

    name: ClassVar[str]

    def observers(self, session: Any) -> list[Any]:
        """What must be watched while the run goes on; each keeps its findings in `session.notes`."""
        return []

    @abstractmethod
    def prove(self, session: Any, folder: Any) -> Proof:
        """The verdict on a live session whose files stand in `folder`."""

    def verify(self, session: Any, folder: Any, stored: Proof | None) -> Proof:
        """The verdict on a session reopened from `folder`; `stored` is what the run itself wrote."""
        return self.prove(session, folder)


def within(difference: float) -> str:
    """How closely two things agree, in words: "exactly", or "to 2e-07 nats"."""
    return "exactly" if difference == 0 else f"to {difference:.0e} nats"


def names(items: Sequence[str], most: int = 5) -> str:
    """The first names of a list and how many more there are: "a, b and 3 more"."""
    shown = ", ".join(items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"


def _plain(value: Any) -> Any:
    """The same value in JSON's own words."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return _plain(value.item()) if hasattr(value, "item") else str(value)

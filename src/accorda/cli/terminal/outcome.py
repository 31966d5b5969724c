"""What a verb hands back."""

from dataclasses import dataclass, field
from typing import Any

DONE, UNPROVEN, REFUSED, STOPPED, CRASHED = 0, 1, 2, 3, 70


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Exit code, what `--json` prints, what people read, and the one error line where the code is not 0."""

    code: int = DONE
    result: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    error: str = ""

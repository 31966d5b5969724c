"""GSM8K exact match: the share of rows whose last number is the reference's.

Cobbe et al., "Training Verifiers to Solve Math Word Problems", 2021, arXiv:2110.14168, end every answer with
`#### <number>`. `strict` reads the number behind that mark; otherwise the last number in the text counts, as the
evaluation harness's flexible filter does. Dollar signs, thousands separators and a final stop are dropped. A text
without a number matches nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from accorda.evaluation.metric import Direction, Metric, Needs, Row

MARKED = re.compile(r"#### (-?[0-9.,]+)")
NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")


def answer(text: str, strict: bool) -> str | None:
    """The final number of a text, without `$`, `,` and a final stop; None where there is none."""
    found = MARKED.findall(text)[:1] if strict else [match for match in NUMBER.findall(text) if re.search(r"\d", match)]
    return found[-1].replace("$", "").replace(",", "").rstrip(".") if found else None


@dataclass(frozen=True, kw_only=True)
class Gsm8kExactMatch(Metric):
    """Share of rows with the reference's final number, in [0, 1]."""

    needs: ClassVar[Needs] = "generations"
    direction: ClassVar[Direction] = "higher"
    share: ClassVar[bool] = True

    strict: bool = False

    def statistics(self, row: Row) -> Sequence[float]:
        found = answer(row.completion, self.strict)
        wanted = {answer(reference, False) for reference in row.references}
        return (found is not None and found in wanted, 1)

    def values(self, totals: np.ndarray) -> dict[str, float]:
        return {"gsm8k_exact_match": float(totals[0] / totals[1])}

    def notes(self, rows: Sequence[Row]) -> dict[str, str]:
        return {"strict": str(self.strict).lower()}

"""Fold an adapter into a base, and say by how much the result differs from the base with the adapter as it was trained.

An adapter whose base is in a number format can go three ways: into the `original` dense weights, which it never saw;
into the `dequantized` ones, which are what it was trained on; or into those, `requantized` afterwards, as small as the
base was. Each is made and measured on held-out rows against the live adapter (`evaluation/agreement`).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from transformers import PreTrainedModel

from accorda.data.batch import Segment
from accorda.errors import Refusal
from accorda.evaluation.agreement import Agreement, agreement, remember
from accorda.methods.merging import check_mergeable, merge
from accorda.proofs.contract import Proof
from accorda.proofs.merge import merged_alike
from accorda.proofs.numerics import few_rows
from accorda.quantization import Format, dequantize_model, errors_of, format_of, quantize_model

ORIGINAL, DEQUANTIZED, REQUANTIZED = WAYS = ("original", "dequantized", "requantized")
AUTO = "auto"
Opening = Callable[[bool], PreTrainedModel]
"""The base with its adapter "default": in its number format (True), or from the original dense weights (False)."""


@dataclass
class Receipt:
    """What was measured and chosen.

    measured: by way; refused: by way, why it could not be made. loss, positions: of the live adapter, None where there
    were no rows to measure on. errors: of a requantized model, by weight, how far it moved.
    """

    way: str
    reason: str
    proof: Proof
    loss: float | None = None
    positions: int = 0
    measured: dict[str, Agreement] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For merge.json."""
        return {
            "into": self.way,
            "reason": self.reason,
            "adapter_loss": self.loss,
            "positions": self.positions,
            "measured": {way: asdict(found) for way, found in self.measured.items()},
            "refused": self.refused,
            "quantization_errors": self.errors,
            "proof": self.proof.to_dict(),
        }


def merged(
    opening: Opening,
    name: str,
    into: str,
    rows: Sequence[Segment],
    most_kl: float,
) -> tuple[PreTrainedModel, Receipt]:
    """The merged model and its receipt. Of the models that are made, two are never in memory together.

    Args:
        opening: opens the base with its adapter anew.
        name: of the adapter.
        into: one of `WAYS`, or "auto": the one that diverges least; "dequantized" where nothing can be measured.
        rows: held out, to measure on.
        most_kl: nats per token that the merged model may be away from the live adapter.

    Raises:
        Refusal: the adapter cannot be merged; the base is in no number format and another way than `original` is asked
            for; the way diverges by more than `most_kl`.
    """
    if into not in (AUTO, *WAYS):
        raise Refusal(f"--into {into}: is not one of {', '.join(WAYS)}; leave it out for the one that diverges least")
    model = opening(True)
    check_mergeable(model, name)
    packed = format_of(model)
    if packed is None and into in (DEQUANTIZED, REQUANTIZED):
        raise Refusal(f"--into {into}: the base is in no number format; leave --into out")
    receipt = Receipt("", "", merged_alike(model, few_rows(list(rows)), name))
    if not rows or not model.can_generate():
        receipt.way = into if into != AUTO else ORIGINAL if packed is None else DEQUANTIZED
        trained_on = "nothing to measure on: the values that the adapter was trained on"
        receipt.reason = trained_on if into == AUTO else "asked for; there is nothing to measure on"
        del model
        return folded(opening, name, receipt.way, packed, receipt), receipt
    live = remember(model, rows)
    receipt.loss, receipt.positions = live.loss, len(live.labels_N)
    made = ""
    for way in (ORIGINAL,) if packed is None else WAYS if into == AUTO else (into,):
        model = None  # before the next is made
        try:
            model, made = folded(opening, name, way, packed, receipt), way
            receipt.measured[way] = agreement(live, model, rows)
        except Refusal as refusal:
            receipt.refused[way] = str(refusal)
    choose(receipt, into, most_kl)
    if model is None or made != receipt.way:
        model = None
        model = folded(opening, name, receipt.way, packed, receipt)
    return model, receipt


def choose(receipt: Receipt, into: str, most_kl: float) -> None:
    """The way with the least divergence.

    Raises:
        Refusal: there is none; or it is too far away.
    """
    if not receipt.measured:
        raise Refusal(next(iter(receipt.refused.values())))
    receipt.way = min(receipt.measured, key=lambda way: receipt.measured[way].kl)
    found = receipt.measured[receipt.way]
    best = "the only way" if len(receipt.measured) == 1 else "of the ways, it diverges least from the adapter"
    receipt.reason = best if into == AUTO else "asked for"
    if found.kl > most_kl:
        others = [way for way in WAYS if into not in (AUTO, way)]
        hint = f"try --into {' or '.join(others)}" if others else "raise --most-kl if that will do"
        raise Refusal(
            f"--into {receipt.way}: the merged model is {found.kl:.3g} nats per token away from the adapter, "
            f"more than --most-kl {most_kl:g}; {hint}"
        )


def folded(opening: Opening, name: str, way: str, packed: Format | None, receipt: Receipt) -> PreTrainedModel:
    """The model merged in one way; the receipt is told how far weights moved that enter the number format again."""
    model, receipt.errors = opening(way != ORIGINAL), {}
    merge(model, name)
    if way == DEQUANTIZED:
        dequantize_model(model)
    elif way == REQUANTIZED and packed is not None:
        receipt.errors = errors_of(model, packed)
        quantize_model(model, packed)
    return model

"""LoRA in bf16 beside TRL and beside a loop by hand over peft: the same rows and adapter at the start, steps in turn.

A Llama of 162 million parameters (width 768, 12 blocks, GPT-2's vocabulary, untied, random weights), GSM8K, rank 16,
alpha 32 on all linears, bf16, 8 rows a step of at most 512 tokens, no checkpointing. TRL's SFTTrainer gets our token
ids and labels ready-made: with `packing=False` the rows in the same order, with `packing=True` it packs them to lines
of 512 tokens, about as many tokens a step. The loop by hand pads the rows in the same order, or after sorting those of
the whole run by length. A side is a process of its own; they make their steps in turn, so that all meet the same
machine. The first step is dropped. What is compared is the time of a token: for the same order that is the time of a
step. `processor` counts the seconds that the processors worked for a side, in which no other work of the machine is.
Peaks are of whole processes, imports included. Where others use the machine, too, `OMP_NUM_THREADS=1` for all sides
tells more: threads that wait for each other's core take time of their own.

Needs the folder with real data (`ACCORDA_SHARED`, or `../shared`), peft and trl. STEPS says how many, ORDERS which of
`same_order` and `own_order`.
"""

import json
import os
import tempfile
from pathlib import Path

from benchmarks._cases import CASES, CHOSEN, STEPS, make_model, ours
from benchmarks._in_turn import Measured, measured
from benchmarks._peers import grouped, hand, packed, trl

__all__ = ["grouped", "hand", "ours", "packed", "trl"]  # the sides
SIDES = {
    "same_order": {"accorda": "ours", "trl": "trl", "by_hand": "hand"},
    "own_order": {"accorda": "ours", "trl_packing": "packed", "by_hand_grouped": "grouped"},
}
SAME_ORDER = ("trl", "by_hand")
RESULT = Path(__file__).parent / "results" / "sft_vs_trl.json"
DROPPED = 1


def figures(found: Measured) -> dict[str, object]:
    """Each peer's ratio to ours."""
    peaks, losses = found.peaks, found.losses
    peers = [side for side in peaks if side != "accorda"]
    ratios = {}
    for name, spent in (("times_as_fast", "seconds"), ("times_as_fast_by_processor", "processor")):
        of_token = found.per_token(spent)
        ratios[name] = {side: round(of_token[side] / of_token["accorda"], 3) for side in peers}
    return {
        "steps": STEPS,
        "threads": int(os.environ.get("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))),
        **found.figures(),
        **ratios,
        "share_of_memory": {side: round(peaks["accorda"] / peaks[side], 3) for side in peers},
        "largest_relative_difference_of_loss": {
            side: round(max(abs(a / b - 1) for a, b in zip(losses["accorda"], losses[side], strict=True)), 6)
            for side in peers
            if side in SAME_ORDER
        },
    }


def compare(benchmark: str, case: str, sides: dict[str, str]) -> dict[str, object]:
    """The sides of a case in turn."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        make_model(place / "model", CASES[case])
        (place / CHOSEN).write_text(json.dumps(case), encoding="utf-8")
        return figures(measured(benchmark, sides, place, STEPS, DROPPED))


def main() -> dict[str, object]:
    """Peers in the same order, and those that choose their own; what ORDERS does not name keeps the figures it has."""
    found = json.loads(RESULT.read_text(encoding="utf-8"))["figures"] if RESULT.exists() else {}
    asked = os.environ.get("ORDERS", ",".join(SIDES)).split(",")
    return found | {order: compare(__name__, "lora", SIDES[order]) for order in asked}

"""Other methods and kinds of models beside TRL or transformers and beside a loop by hand, as `sft_vs_trl` does it.

Full fine-tuning, BitFit (a Llama whose linears have biases), DoRA and prompt tuning of the Llama of 162 million
parameters on GSM8K, beside TRL with `packing=False`; LoRA of a BERT shape that tells sentences of SST-2 apart and of a
T5 shape on GSM8K, both of the same width, beside transformers' Trainer. What is measured is added to what the result
already holds. CASES names some of them, STEPS says how many steps.

Needs the folder with real data (`ACCORDA_SHARED`, or `../shared`), peft and trl.
"""

import json
from pathlib import Path

from benchmarks._cases import CASES, asked_for, ours
from benchmarks._peers import hand, trl
from benchmarks.sft_vs_trl import compare

__all__ = ["hand", "ours", "trl"]  # the sides
SIDES = {"accorda": "ours", "trl": "trl", "by_hand": "hand"}
RESULT = Path(__file__).parent / "results" / "methods_vs_peers.json"


def main() -> dict[str, object]:
    """Every case that was asked for; the others keep the figures they have."""
    found = json.loads(RESULT.read_text(encoding="utf-8"))["figures"] if RESULT.exists() else {}
    known = [name for name in CASES if name != "lora"]
    return found | {name: compare(__name__, name, SIDES) for name in asked_for(known)}

"""LoRA in bf16 beside TRL and beside a loop by hand over peft: the same rows and adapter at the start, steps in turn.

A Llama of 162 million parameters (width 768, 12 blocks, GPT-2's vocabulary, untied, random weights), GSM8K, rank 16,
alpha 32 on all linears, bf16, 8 rows a step of at most 512 tokens, no checkpointing. TRL's SFTTrainer gets our token
ids and labels ready-made, `packing=False`; the loop by hand is that of `qlora_vs_peft` without bitsandbytes: padded
batches and AdamW. Its base and TRL's are in bf16, their adapters in fp32 under autocast, as ours. A side is a process
of its own; they make their steps in turn, so that all meet the same machine. The first steps are dropped. Peaks are of
whole processes, imports included.

Needs the folder with real data (`ACCORDA_SHARED`, or `../shared`), peft and trl. STEPS says how many.
"""

import json
import queue
import tempfile
import threading
from pathlib import Path
from typing import Any

from benchmarks import _trl
from benchmarks._in_turn import measured, serve
from benchmarks.qlora_vs_peft import BATCH, DROPPED, RATE, STEPS, begin, by_hand, make_model

SIDES = {"accorda": "ours", "trl": "trl", "by_hand": "hand"}  # and the function that is one


def ours(place: Path) -> None:
    """Write the start and the rows, then make a step at every line of standard input."""
    begin(place, "none")


def hand(place: Path) -> None:
    """A loop over transformers and peft."""
    import torch
    from transformers import AutoModelForCausalLM

    by_hand(place, AutoModelForCausalLM.from_pretrained(place / "model", dtype=torch.bfloat16))


def trl(place: Path) -> None:
    """TRL's trainer, which waits for a line before every step."""
    asked: queue.Queue[None] = queue.Queue()
    told: queue.Queue[float] = queue.Queue()
    threading.Thread(target=_train, args=(place, asked, told), daemon=True).start()
    told.get()  # it is about to make its first step

    def step(_: int) -> float:
        asked.put(None)
        return told.get()

    serve(step)


def _train(place: Path, asked: "queue.Queue[None]", told: "queue.Queue[float]") -> None:
    import torch
    from transformers import PrinterCallback, TrainerCallback

    class WhenAsked(TrainerCallback):
        def on_train_begin(self, *arguments: Any, **more: Any) -> None:
            told.put(0.0)

        def on_step_begin(self, *arguments: Any, **more: Any) -> None:
            asked.get()

        def on_log(self, arguments: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            if "loss" in logs:
                told.put(float(logs["loss"]))

    steps = json.loads((place / "steps.json").read_text(encoding="utf-8"))
    trainer = _trl.trainer(
        place / "model",
        place / "start",
        [{"input_ids": row["ids"], "labels": row["labels"]} for step in steps for row in step],
        loading={"dtype": torch.bfloat16},
        callbacks=[WhenAsked()],
        output_dir=str(place / "trl"),
        max_steps=STEPS,
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        save_strategy="no",
        bf16=True,
        packing=False,
        disable_tqdm=True,
    )
    trainer.remove_callback(PrinterCallback)  # its lines are no JSON
    trainer.train()


def main() -> dict[str, object]:
    """All sides in turn, and each peer's ratio to ours."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        make_model(place / "model")
        found = measured(__name__, SIDES, place, STEPS, DROPPED)
    seconds, peaks, losses = found.seconds, found.peaks, found.losses
    peers = [side for side in SIDES if side != "accorda"]
    return {
        "steps": STEPS,
        **found.figures(),
        "times_as_fast": {side: round(seconds[side] / seconds["accorda"], 3) for side in peers},
        "share_of_memory": {side: round(peaks["accorda"] / peaks[side], 3) for side in peers},
        "largest_relative_difference_of_loss": {
            side: round(max(abs(a / b - 1) for a, b in zip(losses["accorda"], losses[side], strict=True)), 6)
            for side in peers
        },
    }

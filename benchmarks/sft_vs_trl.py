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
import statistics
import tempfile
import threading
from pathlib import Path
from typing import Any

from benchmarks._in_turn import begun, in_turn, serve
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
    from datasets import Dataset
    from peft import PeftModel
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class InOrder(SFTTrainer):
        def _get_train_sampler(self, *arguments: Any) -> Any:
            return SequentialSampler(self.train_dataset)

    class WhenAsked(TrainerCallback):
        def on_train_begin(self, *arguments: Any, **more: Any) -> None:
            told.put(0.0)

        def on_step_begin(self, *arguments: Any, **more: Any) -> None:
            asked.get()

        def on_log(self, arguments: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            if "loss" in logs:
                told.put(float(logs["loss"]))

    base = AutoModelForCausalLM.from_pretrained(place / "model", dtype=torch.bfloat16)
    model = PeftModel.from_pretrained(base, str(place / "start"), is_trainable=True)
    tokenizer = AutoTokenizer.from_pretrained(place / "model")
    tokenizer.pad_token = tokenizer.eos_token
    steps = json.loads((place / "steps.json").read_text(encoding="utf-8"))
    rows = [{"input_ids": row["ids"], "labels": row["labels"]} for step in steps for row in step]
    settings = SFTConfig(
        output_dir=str(place / "trl"),
        max_steps=STEPS,
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=True,
        packing=False,
        gradient_checkpointing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    data = Dataset.from_list(rows)
    trainer = InOrder(
        model=model, args=settings, train_dataset=data, processing_class=tokenizer, callbacks=[WhenAsked()]
    )
    trainer.remove_callback(PrinterCallback)  # its lines are no JSON
    trainer.train()


def main() -> dict[str, object]:
    """All sides in turn, and each peer's ratio to ours."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        make_model(place / "model")
        steps = in_turn({side: begun(__name__, function, place) for side, function in SIDES.items()}, STEPS)
    seconds = {side: statistics.median(step["seconds"] for step in found[DROPPED:]) for side, found in steps.items()}
    peaks = {side: found[-1]["peak"] for side, found in steps.items()}
    losses = {side: [step["loss"] for step in found] for side, found in steps.items()}
    peers = [side for side in SIDES if side != "accorda"]
    return {
        "steps": STEPS,
        "seconds_per_step": {side: round(value, 3) for side, value in seconds.items()},
        "times_as_fast": {side: round(seconds[side] / seconds["accorda"], 3) for side in peers},
        "peak_mb": {side: round(value / 1e6, 1) for side, value in peaks.items()},
        "share_of_memory": {side: round(peaks["accorda"] / peaks[side], 3) for side in peers},
        "largest_relative_difference_of_loss": {
            side: round(max(abs(a / b - 1) for a, b in zip(losses["accorda"], losses[side], strict=True)), 6)
            for side in peers
        },
        "losses": {side: [round(loss, 5) for loss in found] for side, found in losses.items()},
    }

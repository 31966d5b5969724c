"""TRL's SFTTrainer over ready-made rows in their order, from a given adapter: a peer of benchmarks."""

import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks._in_turn import resident, serve


def trainer(
    model_path: Path,
    start: Path,
    rows: list[dict[str, list[int]]],
    *,
    loading: dict[str, Any] | None = None,
    callbacks: Sequence[Any] = (),
    checkpointing: bool = False,
    **settings: Any,
) -> Any:
    """A trainer of the adapter in `start` at a constant rate, without warm-up or decay.

    rows: token ids and labels. loading: of the base, for `from_pretrained`. settings: further ones of SFTConfig, which
    output_dir, max_steps, per_device_train_batch_size and learning_rate belong to.
    """
    import torch
    from datasets import Dataset
    from peft import PeftModel
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    class InOrder(SFTTrainer):
        def _get_train_sampler(self, *arguments: Any) -> Any:
            return SequentialSampler(self.train_dataset)

    base = AutoModelForCausalLM.from_pretrained(model_path, **(loading or {}))
    model = PeftModel.from_pretrained(base, str(start), is_trainable=True)
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    tokenizer.pad_token = tokenizer.eos_token
    config = SFTConfig(
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        logging_steps=1,
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=checkpointing,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        **settings,
    )
    data = Dataset.from_list(rows)
    return InOrder(model=model, args=config, train_dataset=data, processing_class=tokenizer, callbacks=list(callbacks))


def serve_steps(trainer: Any, peaks: Callable[[], dict[str, int]] = resident) -> None:
    """Let a trainer make a step at every line of standard input."""
    from transformers import PrinterCallback, TrainerCallback

    asked: queue.Queue[None] = queue.Queue()
    told: queue.Queue[float] = queue.Queue()

    class WhenAsked(TrainerCallback):
        def on_train_begin(self, *arguments: Any, **more: Any) -> None:
            told.put(0.0)

        def on_step_begin(self, *arguments: Any, **more: Any) -> None:
            asked.get()

        def on_log(self, arguments: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            if "loss" in logs:
                told.put(float(logs["loss"]))

    trainer.add_callback(WhenAsked())
    trainer.remove_callback(PrinterCallback)  # its lines are no JSON
    threading.Thread(target=trainer.train, daemon=True).start()
    told.get()  # it is about to make its first step

    def step(_: int) -> float:
        asked.put(None)
        return told.get()

    serve(step, peaks)

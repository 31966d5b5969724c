"""TRL's SFTTrainer and transformers' Trainer over ready-made rows in their order: peers of benchmarks."""

import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks._in_turn import held, serve

FIXED: dict[str, Any] = {
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "logging_steps": 1,
    "report_to": [],
    "gradient_checkpointing": False,
    "remove_unused_columns": False,
}


def adapted(model_path: Path, start: Path, **loading: Any) -> Any:
    """The base, loaded with further settings, with the adapter in `start`."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model_path, **loading)
    return PeftModel.from_pretrained(base, str(start), is_trainable=True)


def trainer(
    model: Any,
    model_path: Path,
    rows: list[dict[str, Any]],
    *,
    packing: bool = False,
    **settings: Any,
) -> Any:
    """An SFTTrainer at a constant rate, without warm-up or decay; without checkpointing unless a setting says so.

    model_path: where its tokenizer is. rows: token ids and labels. packing: the trainer joins rows to lines. settings:
    further ones of SFTConfig, which output_dir, max_steps, per_device_train_batch_size and learning_rate belong to.
    """
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(model_path)
    tokenizer.pad_token = tokenizer.eos_token
    ready = {} if packing else {"dataset_kwargs": {"skip_prepare_dataset": True}}
    config = SFTConfig(**_fixed() | {"packing": packing} | ready | settings)
    data = Dataset.from_list(rows)
    in_order = _in_order(SFTTrainer)
    return in_order(model=model, args=config, train_dataset=data, processing_class=tokenizer)


def plain_trainer(
    model: Any,
    model_path: Path,
    rows: list[dict[str, Any]],
    *,
    packing: bool = False,
    **settings: Any,
) -> Any:
    """The same of transformers' Trainer, for models that are no decoders; it never packs."""
    from transformers import Trainer, TrainingArguments

    assert not packing
    in_order = _in_order(Trainer)
    return in_order(model=model, args=TrainingArguments(**_fixed() | settings), train_dataset=rows)


def _in_order(kind: Any) -> Any:
    from torch.utils.data import SequentialSampler

    class InOrder(kind):
        def _get_train_sampler(self, *arguments: Any) -> Any:
            return SequentialSampler(self.train_dataset)

    return InOrder


def serve_steps(
    trainer: Any,
    peaks: Callable[[], dict[str, int]] = held,
    more: Callable[[int], Mapping[str, float]] = lambda _: {},
) -> None:
    """Let a trainer, in a thread of its own, make a step at every line of standard input; `more` it tells of a step."""
    from transformers import PrinterCallback, TrainerCallback

    asked: queue.Queue[None] = queue.Queue()
    told: queue.Queue[dict[str, float]] = queue.Queue()
    ended = threading.Event()

    class WhenAsked(TrainerCallback):
        def on_train_begin(self, *arguments: Any, **settings: Any) -> None:
            told.put({})

        def on_step_begin(self, *arguments: Any, **settings: Any) -> None:
            asked.get()

        def on_log(self, arguments: Any, state: Any, control: Any, logs: Any = None, **settings: Any) -> None:
            if "loss" in logs:
                told.put({"loss": float(logs["loss"]), **more(state.global_step)})

    def work() -> None:
        try:
            trainer.train()
        finally:
            ended.set()
            told.put({})

    trainer.add_callback(WhenAsked())
    trainer.remove_callback(PrinterCallback)  # its lines are no JSON
    threading.Thread(target=work, daemon=True).start()
    told.get()  # it is about to make its first step

    def step(_: int) -> dict[str, float]:
        asked.put(None)
        if found := told.get():
            return found
        raise RuntimeError("the trainer ended before its time" if ended.is_set() else "a step told no loss")

    serve(step, peaks)


def _fixed() -> dict[str, Any]:
    import torch

    return FIXED | {"use_cpu": not torch.cuda.is_available()}

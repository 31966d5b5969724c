"""TRL's SFTTrainer and transformers' Trainer over ready-made rows in their order: the peers of three benchmarks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

FIXED: dict[str, Any] = {
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "logging_steps": 1,
    "report_to": [],
    "use_cpu": True,
    "gradient_checkpointing": False,
    "remove_unused_columns": False,
}


def adapted(model_path: Path, start: Path) -> Any:
    """The base with the adapter in `start`."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_path), str(start), is_trainable=True)


def trainer(
    model: Any,
    model_path: Path,
    rows: list[dict[str, Any]],
    *,
    callbacks: Sequence[Any] = (),
    packing: bool = False,
    **settings: Any,
) -> Any:
    """An SFTTrainer at a constant rate, without warm-up, decay or checkpointing.

    model_path: where its tokenizer is. rows: token ids and labels. packing: the trainer joins rows to lines. settings:
    further ones of SFTConfig, which output_dir, max_steps, per_device_train_batch_size and learning_rate belong to.
    """
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(model_path)
    tokenizer.pad_token = tokenizer.eos_token
    ready = {} if packing else {"dataset_kwargs": {"skip_prepare_dataset": True}}
    config = SFTConfig(**FIXED, packing=packing, **ready, **settings)
    data = Dataset.from_list(rows)
    in_order = _in_order(SFTTrainer)
    return in_order(model=model, args=config, train_dataset=data, processing_class=tokenizer, callbacks=list(callbacks))


def plain_trainer(
    model: Any,
    model_path: Path,
    rows: list[dict[str, Any]],
    *,
    callbacks: Sequence[Any] = (),
    packing: bool = False,
    **settings: Any,
) -> Any:
    """The same of transformers' Trainer, for models that are no decoders; it never packs."""
    from transformers import Trainer, TrainingArguments

    assert not packing
    in_order = _in_order(Trainer)
    return in_order(
        model=model, args=TrainingArguments(**FIXED, **settings), train_dataset=rows, callbacks=list(callbacks)
    )


def _in_order(kind: Any) -> Any:
    from torch.utils.data import SequentialSampler

    class InOrder(kind):
        def _get_train_sampler(self, *arguments: Any) -> Any:
            return SequentialSampler(self.train_dataset)

    return InOrder

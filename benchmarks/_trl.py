"""TRL's SFTTrainer over ready-made rows in their order, from a given adapter: the peer of two benchmarks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def trainer(
    model_path: Path,
    start: Path,
    rows: list[dict[str, list[int]]],
    *,
    loading: dict[str, Any] | None = None,
    callbacks: Sequence[Any] = (),
    **settings: Any,
) -> Any:
    """A trainer of the adapter in `start` at a constant rate, without warm-up, decay or checkpointing.

    rows: token ids and labels. loading: of the base, for `from_pretrained`. settings: further ones of SFTConfig, which
    output_dir, max_steps, per_device_train_batch_size and learning_rate belong to.
    """
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
        use_cpu=True,
        gradient_checkpointing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        **settings,
    )
    data = Dataset.from_list(rows)
    return InOrder(model=model, args=config, train_dataset=data, processing_class=tokenizer, callbacks=list(callbacks))

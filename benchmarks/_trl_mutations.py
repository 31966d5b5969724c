"""The twelve mutations made from outside in TRL + PEFT, on a tiny model: does anything raise or warn?

Every run is made twice, as it is and mutated, and only what the mutated one says more counts. What `accorda verify`
says of the folder that the mutated run wrote stands beside it.
"""

import contextlib
import hashlib
import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.stages.runs import SUMS
from tests.zoo import tiny_model_folder

LIBRARIES = ("transformers", "trl", "peft", "accelerate", "datasets")
LONG = [*SUMS[:12], *({"prompt": "count: ", "completion": "1 2 3 4 " * 20},) * 4]
Rows = list[dict[str, str]]


@dataclass
class Trial:
    """One TRL run: its settings, and the hooks by which a mutation reaches in."""

    place: Path
    rows: Rows = field(default_factory=lambda: SUMS[:16])
    settings: dict[str, Any] = field(default_factory=dict)
    on_model: Callable[[Any], None] = lambda model: None
    on_trainer: Callable[[Any], None] = lambda trainer: None
    after: Callable[["Trial", Any], None] = lambda trial, trainer: trainer.save_model(str(trial.final))
    dataset: Any = None
    patch: pytest.MonkeyPatch = field(default_factory=pytest.MonkeyPatch)

    @property
    def base(self) -> Path:
        return self.place / "llama"

    @property
    def output(self) -> Path:
        return self.place / "output"

    @property
    def final(self) -> Path:
        return self.output / "final"


def trainer_of(trial: Trial) -> Any:
    """An SFTTrainer with a LoRA on the tiny model, as TRL's own examples make one."""
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(trial.base)
    lora = LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(trial.base), lora)
    trial.on_model(model)
    given = {"max_steps": 12, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "max_length": 64}
    given |= {"learning_rate": 0.01, "save_strategy": "no", "gradient_checkpointing": False} | trial.settings
    settings = SFTConfig(str(trial.output), use_cpu=True, bf16=False, report_to=[], disable_tqdm=True, **given)
    data = trial.dataset if trial.dataset is not None else Dataset.from_list(trial.rows)
    trainer = SFTTrainer(model=model, args=settings, train_dataset=data, processing_class=tokenizer)
    trial.on_trainer(trainer)
    return trainer


def work(trial: Trial, make: Callable[[Trial], None]) -> dict[str, Any]:
    """One run; what it raised, or every warning it gave."""
    tiny_model_folder(trial.place)
    make(trial)
    raised = None
    with _listening() as heard:
        try:
            trainer = trainer_of(trial)
            trainer.train()
            trial.after(trial, trainer)
        except Exception as error:
            raised = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    trial.patch.undo()
    return {"raised": raised, "heard": heard}


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    """Every warning of these libraries, from Python's warnings and from their logs."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    ear = Ear(logging.WARNING)
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    levels = [(log, log.level) for log in loggers]
    for log in loggers:
        log.addHandler(ear)
        log.setLevel(logging.WARNING)
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        try:
            yield heard
        finally:
            heard += [str(warning.message) for warning in caught]
            for log, level in levels:
                log.removeHandler(ear)
                log.setLevel(level)


def verified(trial: Trial) -> list[str]:
    """Which proofs `accorda verify` finds failing in the folder the run wrote, and why."""
    from accorda.proofs import verify

    if not trial.final.is_dir():
        return []
    found = verify(trial.final, trial.base, SUMS)
    return [f"{proof.name}: {proof.reason[:160]}" for proof in found if proof.verdict == "fails"]


def result_sums(trial: Trial) -> list[str]:
    """Checksums of the saved weights: a mutation without effect would prove nothing."""
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(trial.final.glob("*.safetensors"))]


def eos_not_supervised(trial: Trial) -> None:
    def on_trainer(trainer: Any) -> None:
        collate = trainer.data_collator

        def without_end(rows: Any) -> Any:
            batch = collate(rows)
            batch["labels"][batch["labels"] == trainer.processing_class.eos_token_id] = -100
            return batch

        trainer.data_collator = without_end

    trial.on_trainer = on_trainer


def site_skipped(trial: Trial) -> None:
    def on_model(model: Any) -> None:
        attention = model.base_model.model.model.layers[1].self_attn
        attention.q_proj = attention.q_proj.base_layer

    trial.on_model = on_model


def base_not_frozen(trial: Trial) -> None:
    trial.on_model = lambda model: model.requires_grad_(True)


def double_bos(trial: Trial) -> None:
    trial.rows = [row | {"prompt": f"<s>{row['prompt']}"} for row in trial.rows]

    def on_trainer(trainer: Any) -> None:
        if trainer.train_dataset[0]["input_ids"][:2] != [1, 1]:
            raise NotMade("the second BOS was left out")

    trial.on_trainer = on_trainer


def accumulation_by_micro_batch(trial: Trial) -> None:
    def on_trainer(trainer: Any) -> None:
        compute = trainer.compute_loss
        trainer.compute_loss = lambda model, inputs, return_outputs=False, num_items_in_batch=None: compute(
            model, inputs, return_outputs=return_outputs
        )

    trial.on_trainer = on_trainer


def packing_leak(trial: Trial) -> None:
    def on_trainer(trainer: Any) -> None:
        collate = trainer.data_collator

        def one_row(rows: Any) -> Any:
            batch = collate(rows)
            batch["position_ids"] = torch.arange(batch["input_ids"].shape[1])[None]
            return batch

        trainer.data_collator = one_row

    trial.on_trainer = on_trainer


def stale_cache_key(trial: Trial) -> None:
    """The data set's folder is written again under the fingerprint that its cached tokens were made for."""
    from datasets import Dataset, load_from_disk

    old, new = trial.place / "data", trial.place / "corrected"
    Dataset.from_list([row | {"completion": "0"} for row in trial.rows]).save_to_disk(str(old))
    trial.dataset = load_from_disk(str(old))
    trainer_of(trial)  # tokenises, and leaves the tokens beside the data
    Dataset.from_list([row | {"completion": "1"} for row in trial.rows]).save_to_disk(str(new))
    shutil.copy(next(new.glob("*.arrow")), next(old.glob("data-*.arrow")))
    trial.dataset = load_from_disk(str(old))
    trial.on_trainer = _require_stale


def _require_stale(trainer: Any) -> None:
    text = trainer.processing_class.decode(trainer.train_dataset[0]["input_ids"], skip_special_tokens=True)
    if not text.endswith("0"):
        raise NotMade("the tokens were made anew")


class NotMade(Exception):
    """The mutation could not be made from outside."""


def truncated_labels(trial: Trial) -> None:
    trial.rows, trial.settings = LONG, {"max_length": 32}


def _plain_long(trial: Trial) -> None:
    trial.rows, trial.settings = LONG, {"max_length": 256}


def wrong_merge_scale(trial: Trial) -> None:
    from peft.tuners.lora.layer import Linear

    delta = Linear.get_delta_weight
    trial.patch.setattr(Linear, "get_delta_weight", lambda self, adapter: 2 * delta(self, adapter))
    trial.after = _save_merged


def _save_merged(trial: Trial, trainer: Any) -> None:
    trainer.model.merge_and_unload().save_pretrained(str(trial.final))
    trainer.processing_class.save_pretrained(str(trial.final))


def optimizer_lost_at_resume(trial: Trial) -> None:
    trial.settings = {"save_strategy": "steps", "save_steps": 1}

    def after(trial: Trial, trainer: Any) -> None:
        (trial.output / "checkpoint-1" / "optimizer.pt").unlink()
        _resumed(trial)

    trial.after = after


def recomputed_under_another_route(trial: Trial) -> None:
    from peft import LoraConfig

    trial.settings = {"gradient_checkpointing": True}
    trial.on_model = lambda model: model.add_adapter("other", LoraConfig(r=2, target_modules="all-linear"))

    def on_trainer(trainer: Any) -> None:
        compute = trainer.compute_loss

        def then_switch(model: Any, inputs: Any, **given: Any) -> Any:
            model.set_adapter("default")
            loss = compute(model, inputs, **given)
            model.set_adapter("other")  # as an evaluation or a reference pass between forward and backward does
            return loss

        trainer.compute_loss = then_switch

    trial.on_trainer = on_trainer


def _plain_packing(trial: Trial) -> None:
    trial.settings = {"packing": True}


def _leak(trial: Trial) -> None:
    _plain_packing(trial)
    packing_leak(trial)


def _plain_checkpointing(trial: Trial) -> None:
    trial.settings = {"gradient_checkpointing": True}


def _plain_resume(trial: Trial) -> None:
    trial.settings = {"save_strategy": "steps", "save_steps": 1}

    trial.after = lambda trial, trainer: _resumed(trial)


def _resumed(trial: Trial) -> None:
    trainer = trainer_of(trial)
    trainer.train(resume_from_checkpoint=str(trial.output / "checkpoint-1"))
    trainer.save_model(str(trial.final))


def _plain_merge(trial: Trial) -> None:
    trial.after = _save_merged


def _nothing(trial: Trial) -> None:
    pass


# name, the mutation, and the same run without it
MUTATIONS: tuple[tuple[str, Callable[[Trial], None] | None, Callable[[Trial], None]], ...] = (
    ("eos not supervised", eos_not_supervised, _nothing),
    ("a site skipped", site_skipped, _nothing),
    ("base not frozen", base_not_frozen, _nothing),
    ("double BOS", double_bos, _nothing),
    ("wrong accumulation scale", accumulation_by_micro_batch, _nothing),
    ("packing leak", _leak, _plain_packing),
    ("stale cache key", stale_cache_key, _nothing),
    ("truncated labels", truncated_labels, _plain_long),
    ("wrong merge scale", wrong_merge_scale, _plain_merge),
    ("optimizer state lost at resume", optimizer_lost_at_resume, _plain_resume),
    ("checkpointed block recomputed under another route", recomputed_under_another_route, _plain_checkpointing),
    ("fused rows shifted", None, _nothing),  # PEFT has no adapter on a part of a fused projection
)


def measure(name: str) -> dict[str, Any]:
    """One row of the table."""
    make, plain = next((make, plain) for known, make, plain in MUTATIONS if known == name)
    if make is None:
        return {"made": False, "why": "PEFT puts no adapter on rows of a fused projection"}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        control, trial = Trial(Path(one)), Trial(Path(other))
        before = work(control, plain)
        found = work(trial, make)
        if before["raised"]:
            return {"made": False, "why": f"the run fails without the mutation: {before['raised']}"}
        if found["raised"] and "NotMade" in found["raised"]:
            return {"made": False, "why": found["raised"]}
        known = {message[:60] for message in before["heard"]}
        warned = sorted({message[:200] for message in found["heard"] if message[:60] not in known})
        refused = "raised" if found["raised"] else "warned" if warned else "silent"
        if verified(control):
            raise AssertionError(f"{name}: the run without the mutation fails: {verified(control)}")
        row = {"made": True, "trl": refused, "raised": found["raised"], "warned": warned}
        row["result_differs"] = result_sums(trial) != result_sums(control)
        return row | {"accorda_verify": verified(trial)}

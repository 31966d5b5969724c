"""What the tools have in common: transformers' training arguments, which all pass on, by one name or another."""

import math

from accorda.recipe.migrate.draft import Draft
from accorda.recipe.migrate.rules import OFF, Rule, differs, each, internal, missing, same

SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant", "constant_with_warmup": "constant"}
OPTIMIZERS = {  # their names for an optimizer that has another one here
    **dict.fromkeys(("adamw_torch", "adamw_torch_fused", "adamw_hf", "adamw_apex_fused"), "adamw"),
    **dict.fromkeys(("adamw_bnb_8bit", "adamw_torch_8bit", "adamw_torch_4bit"), "adamw_8bit"),
    "paged_adamw_32bit": "paged_adamw",
}
UNLIKE = {
    "adafactor": "learning rates mean what they mean for AdamW: scale_parameter is off",
    "adamw_torch_8bit": "states of 8 bits as bitsandbytes rounds them, not as torchao does",
    "adamw_torch_4bit": "states of 8 bits instead of 4",
}
BETAS = {"adam_beta1": "beta1", "adam_beta2": "beta2", "adam_epsilon": "epsilon"}
ONE_PROCESS = "this version trains in one process on one device"
OWN_SEED = "the same number draws another order and other starting values here"

TABLE: dict[str, Rule] = {
    "learning_rate": same("training.learning_rate", float),
    "weight_decay": same("training.weight_decay", float),  # vectors are never decayed, there nor here
    "max_grad_norm": same("training.max_grad_norm", lambda norm: float(norm) or None),
    "seed": differs("training.seed", OWN_SEED),
    "output_dir": same("output"),
    "save_total_limit": same("training.keep_checkpoints"),
    "trust_remote_code": same("model.trust_remote_code", bool),
    **each("adam_beta1 adam_beta2 adam_epsilon", internal("of AdamW")),
    **each("bf16 fp16", internal("see training.precision")),
    **each("save_steps save_strategy saves_per_epoch", internal("see training.checkpoint_every")),
    **each("eval_steps eval_strategy evaluation_strategy evals_per_epoch eval_delay", internal("see evaluation.every")),
    **each("hub_token hub_revision hub_private_repo hub_always_push", internal("nothing is uploaded")),
    **each("trackio_space_id trackio_bucket_id trackio_static_space_id", internal("see training.trackers")),
    **each("torch_compile_backend torch_compile_mode liger_kernel_config", internal("of a compiled model")),
    **each("activation_checkpointing", missing("see training.gradient_checkpointing")),
    **each("include_for_metrics batch_eval_metrics greater_is_better", internal("see evaluation.metrics")),
    **each("generation_config generation_max_length generation_num_beams", internal("see evaluation.generate")),
    **each(
        "activation_checkpointing_kwargs average_tokens_across_devices dataloader_in_order ignore_data_skip debug "
        "dataloader_multiprocessing_context ddp_broadcast_buffers ddp_static_graph enable_jit_checkpoint do_predict "
        "eval_do_concat_batches eval_use_gather_object log_level_replica log_on_each_node logging_nan_inf_filter "
        "restore_callback_states_from_checkpoint sortish_sampler",
        internal("not a choice here"),
    ),
    "neftune_noise_alpha": missing("noise on embeddings while training is not built"),
    "label_smoothing_factor": missing("the objective is plain cross-entropy"),
    "load_best_model_at_end": internal("where there are evaluation rows the best evaluated step is always the result"),
    "resume_from_checkpoint": missing("accorda resume goes on with a run of accorda's own"),
    "torch_compile": missing("models are not compiled in this version"),
    "auto_find_batch_size": missing("training.micro_batch_size is auto unless given"),
    "metric_for_best_model": missing("evaluation.best names what decides the best step: eval_loss unless said"),
    **each(
        "optim_args optim_target_modules lr_scheduler_kwargs",
        missing("optimizers and schedules have fixed shapes here"),
    ),
    **each(
        "push_to_hub hub_model_id hub_strategy",
        missing("nothing is uploaded; push the run's adapter/ or model/ folder"),
    ),
    **each("deepspeed fsdp fsdp_config accelerator_config parallelism_config", missing(ONE_PROCESS)),
    **each("use_liger_kernel", internal("kernels are chosen by accorda")),
    **each(
        "group_by_length length_column_name train_sampling_strategy",
        missing("rows come in the seed's order; packing spares the padding"),
    ),
    **each("overwrite_output_dir", internal("a folder in use is never replaced; --output names another")),
    **each("do_train do_eval", internal("what runs is the verb: train, eval")),
    **each("gradient_checkpointing_kwargs", internal("checkpointing replays the route of its forward pass")),
    **each(
        "per_device_eval_batch_size eval_accumulation_steps prediction_loss_only",
        internal("evaluation takes what fits"),
    ),
    **each("remove_unused_columns label_names data_seed full_determinism eval_on_start", internal("not a choice here")),
    **each(
        "tf32 use_cpu bf16_full_eval fp16_full_eval torch_empty_cache_steps use_cache",
        internal("how the hardware is used"),
    ),
    **each(
        "logging_steps logging_strategy logging_first_step logging_dir log_level disable_tqdm run_name project "
        "include_num_input_tokens_seen include_tokens_per_second skip_memory_metrics plot_loss",
        internal("every step is in events.jsonl"),
    ),
    **each(
        "dataloader_num_workers dataloader_pin_memory dataloader_prefetch_factor dataloader_persistent_workers "
        "dataset_num_proc dataset_processes preprocessing_num_workers preprocessing_batch_size overwrite_cache",
        internal("rows are tokenised once and cached by content"),
    ),
    **each("dataloader_drop_last", internal("every row is seen; no batch is dropped")),
    **each(
        "ddp_timeout ddp_find_unused_parameters ddp_backend ddp_bucket_cap_mb local_rank",
        internal("of several processes"),
    ),
    **each("save_only_model save_safetensors save_on_each_node", internal("checkpoints are complete and safetensors")),
}


def steps(draft: Draft, epochs: str = "num_train_epochs") -> None:
    """How long it trains, the batch, the schedule, the checkpoints: keys that mean something only together."""
    length(draft, epochs)
    warmup(draft)
    optimizer(draft)
    checkpoints(draft)
    reporting(draft)


def length(draft: Draft, epochs: str) -> None:
    """Epochs, whole ones, or a number of optimizer steps, which wins."""
    most = draft.number("max_steps") if draft.has("max_steps") else 0
    if most > 0:
        draft.put("training.max_steps", int(most), "max_steps")
    else:
        draft.claim("max_steps", kind="dropped", says="off")
    number = draft.number(epochs)
    says = "" if number == int(number) else f"epochs are whole here; {number:g} is rounded up"
    draft.put("training.epochs", max(1, math.ceil(number)), epochs, says=says)


def batch(draft: Draft, per_device: str, packing: str | None) -> None:
    """Examples per optimizer step over all devices; the other tools count per device and per accumulation step."""
    accumulation = "gradient_accumulation_steps"
    rows, parts = int(draft.number(per_device)), int(draft.number(accumulation))
    says = (
        f"batch_size counts examples per optimizer step over all devices: {rows} per device x {parts} accumulated x "
        f"{draft.devices} {'device' if draft.devices == 1 else 'devices'} (--devices)"
    )
    if packing:
        says += f"; with {packing} {draft.tool.title} counts packed lines, so multiply it by the rows in a line"
    draft.put("training.batch_size", rows * parts * draft.devices, per_device, accumulation)
    draft.claim(per_device, says=says, kind="differs")
    draft.put("training.micro_batch_size", rows, per_device)


def warmup(draft: Draft, schedule: str = "lr_scheduler_type") -> None:
    """The schedule and its warm-up: a number of steps, or a share of them, which needs the number of steps."""
    name = str(draft.value(schedule))
    if name in SCHEDULES:
        draft.put("training.schedule", SCHEDULES[name], schedule)
    else:
        says = f"schedules are {', '.join(dict.fromkeys(SCHEDULES.values()))}; cosine is written"
        draft.put("training.schedule", "cosine", schedule, says=says, kind="no counterpart")
    keys = [key for key in ("warmup_steps", "warmup_ratio") if draft.has(key) and draft.number(key) > 0]
    if name == "constant":  # transformers' constant rate has no warm-up, whatever is said about it
        draft.put("training.warmup_steps", 0, why=f"{schedule}: constant has none")
        draft.claim(*keys, kind="dropped", says="a constant rate has no warm-up")
    elif keys:
        warm(draft, keys[0], draft.number(keys[0]))
    elif "warmup_steps" in draft.tool.defaults or draft.has("warmup_steps"):
        draft.put("training.warmup_steps", 0, "warmup_steps", "warmup_ratio")
    draft.claim("warmup_steps", "warmup_ratio", kind="dropped")


def warm(draft: Draft, key: str, amount: float) -> None:
    """Warm-up of so many steps, or of a share of them where the amount is below 1."""
    if amount >= 1:
        draft.put("training.warmup_steps", int(amount), key)
    elif "training.max_steps" in draft.settings:
        steps = math.ceil(amount * draft.settings["training.max_steps"].value)
        draft.put("training.warmup_steps", steps, key, says=f"a number of steps here: {amount:g} of max_steps")
    else:
        says = (
            f"a number of steps here, and {amount:g} of the run is known only with the rows; auto is 3% of it, at "
            f"most 100; accorda train --dry-run tells the number of steps"
        )
        draft.put("training.warmup_steps", "auto", key, says=says)


def optimizer(draft: Draft, key: str = "optim") -> None:
    """By their name for it where that differs, else by the same name."""
    given = str(draft.value(key) or "adamw")
    name = OPTIMIZERS.get(given, given)
    if name in draft.known.optimizers:
        draft.put("training.optimizer.name", name, key, says=UNLIKE.get(given, ""))
    else:
        says = f"optimizers are {', '.join(sorted(draft.known.optimizers))}; adamw is written"
        draft.put("training.optimizer.name", "adamw", key, says=says, kind="no counterpart")
    for theirs, ours in BETAS.items():
        if draft.has(theirs) and "adamw" in draft.settings["training.optimizer.name"].value:
            draft.put(f"training.optimizer.{ours}", float(draft.number(theirs)), theirs)


def checkpoints(draft: Draft) -> None:
    """Checkpoints every so many steps; by epoch is not offered."""
    strategy = draft.value("save_strategy")
    if draft.has("save_steps") and draft.number("save_steps") >= 1 and strategy in (None, "steps"):
        draft.put("training.checkpoint_every", int(draft.number("save_steps")), "save_steps")
        draft.claim("save_strategy")
        return
    says = "checkpoints come every training.checkpoint_every steps: 100 unless said"
    for key in ("save_steps", "save_strategy", "saves_per_epoch"):
        if draft.has(key):
            draft.tell("dropped" if strategy == "steps" else "differs", key, says)


def evaluations(draft: Draft, wanted: bool) -> None:
    """Evaluation every so many steps; by epoch is not offered."""
    strategy = next((draft.value(key) for key in ("eval_strategy", "evaluation_strategy") if draft.has(key)), None)
    if wanted and strategy in (None, "steps") and draft.has("eval_steps") and draft.number("eval_steps") >= 1:
        draft.put("evaluation.every", int(draft.number("eval_steps")), "eval_steps")
    says = "evaluations come every evaluation.every steps: 100 unless said" if wanted else "no evaluation rows"
    for key in ("eval_strategy", "evaluation_strategy", "eval_steps", "evals_per_epoch"):
        if draft.has(key) and key not in draft.notes:
            told = "mapped" if strategy == "steps" and wanted else "differs" if wanted else "dropped"
            draft.tell(told, key, "" if told == "mapped" else says)


def precision(draft: Draft, default: str) -> None:
    """What products are computed in: bf16 and fp16 switches, `auto`, or what the tool does where neither is given."""
    name = "fp16" if draft.on("fp16") else "bf16" if draft.on("bf16") else "fp32"
    if draft.value("bf16") == "auto" and name == "bf16":
        name = "auto"
    if not draft.has("fp16") and not draft.has("bf16"):
        draft.put("training.precision", default)
    else:
        draft.put("training.precision", name, "bf16", "fp16")


def reporting(draft: Draft) -> None:
    """Trackers; their names are the same where they exist."""
    names = draft.listed("report_to")
    kept = [name for name in names if name in draft.known.trackers]
    if kept:
        draft.put("training.trackers", kept, "report_to")
    lost = [name for name in names if name not in kept and name not in OFF]
    if lost:
        has = ", ".join(sorted(draft.known.trackers))
        draft.tell("no counterpart", "report_to", f"no tracker {', '.join(lost)}; there are {has}")
    draft.claim("report_to", kind="dropped")

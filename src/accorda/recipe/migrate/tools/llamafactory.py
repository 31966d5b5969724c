"""LLaMA-Factory: `llamafactory-cli train FILE`. Keys are its own arguments and transformers'."""

import json
from pathlib import Path
from typing import Any

from accorda.recipe.migrate import trainer
from accorda.recipe.migrate.draft import Draft
from accorda.recipe.migrate.lora import TABLE as LORA
from accorda.recipe.migrate.lora import added_tokens, full, lora, quantization
from accorda.recipe.migrate.rows import Place, place, put_places, split_of
from accorda.recipe.migrate.rules import Tool, differs, each, internal, missing, same, sft_only, words

STAGES = {"pt": "pretraining", "rm": "a reward model", "ppo": "PPO", "dpo": "DPO", "kto": "KTO"}
ALPACA = {"prompt": "instruction", "query": "input", "response": "output", "system": "system", "history": "history"}
CONVERSATION = {"messages": "conversations", "system": "system", "tools": "tools"}
INFO = "dataset_info.json"
LONGER = "longer rows are cut there and left out here, counted and listed; data.overlong=truncate cuts them"
JOINED = "instruction and input are joined by a line break there, by an empty line here"


def stage(draft: Draft) -> None:
    """Supervised fine-tuning only."""
    name = draft.value("stage")
    if name != "sft":
        what = STAGES.get(str(name), "no stage that is known")
        raise draft.refuse("stage", f"{what}; {sft_only(name)}")
    for key in ("export_dir", "do_predict"):
        if draft.on(key) and not draft.on("do_train"):
            raise draft.refuse(key, "this configuration does not train; see accorda merge and accorda eval")
    draft.put("stage", "sft", "stage")


def model(draft: Draft) -> None:
    """The base, an adapter to go on from, the number format."""
    if draft.has("model_name_or_path"):
        draft.put("model.path", draft.value("model_name_or_path"), "model_name_or_path")
    adapters = draft.listed("adapter_name_or_path")
    if len(adapters) > 1:
        draft.tell("no counterpart", "adapter_name_or_path", "one adapter is gone on from; merge the others first")
    elif adapters:
        draft.put("model.adapter", adapters[0], "adapter_name_or_path")
    bits = int(draft.number("quantization_bit")) if draft.on("quantization_bit") else None
    quantization(draft, bits, "quantization_bit")
    if bits == 4 and draft.has("double_quantization"):
        draft.put("model.double_quantization", draft.on("double_quantization"), "double_quantization")
    if draft.on("pure_bf16"):
        says = "the frozen weights are bf16; what trains keeps fp32 masters here"
        draft.put("model.dtype", "bfloat16", "pure_bf16", says=says)
    added_tokens(draft, "add_tokens", "add_special_tokens")


def method(draft: Draft) -> None:
    """`finetuning_type`: lora, or full."""
    kind = draft.value("finetuning_type")
    names = {"rank": "lora_rank", "alpha": "lora_alpha", "dropout": "lora_dropout"}
    if kind == "full":
        full(draft, "finetuning_type")
        return draft.claim(*names.values(), "lora_target", kind="dropped", says="full fine-tuning")
    if kind != "lora":
        raise draft.refuse("finetuning_type", "migrate knows lora and full; accorda methods lists what there is")
    targets: Any = draft.listed("lora_target")
    lora(draft, **names, targets="all-linear" if "all" in targets else targets, target_keys=["lora_target"])
    return draft.claim("finetuning_type")


def rows(draft: Draft) -> None:
    """Data sets by the names of dataset_info.json, the template, and what is set apart for evaluation."""
    described = descriptions(draft)
    for key, split in (("dataset", "train"), ("eval_dataset", "eval")):
        found = [entry(draft, key, name, described) for name in draft.listed(key)]
        if found:
            put_places(draft, split, found, key)
    if draft.has("eval_dataset"):
        draft.claim("val_size", kind="dropped", says="eval_dataset is given")
    else:
        split_of(draft, "val_size")
    trainer.evaluations(draft, draft.has("eval_dataset") or draft.on("val_size"))
    template(draft)
    draft.put("data.supervise", "last" if draft.on("mask_history") else "all", "mask_history")
    if draft.has("max_samples"):
        several = len(draft.listed("dataset")) > 1
        says = "of all data sets together here, of each there" if several else ""
        draft.put("data.limit", int(draft.number("max_samples")), "max_samples", says=says)
        if draft.has("eval_dataset"):
            draft.put("data.eval_limit", int(draft.number("max_samples")), "max_samples", says=says)
    draft.claim("dataset_dir")


def descriptions(draft: Draft) -> dict[str, Any]:
    """What dataset_info.json says of the data sets; found from the working directory or beside the configuration."""
    folder = Path(str(draft.value("dataset_dir")))
    for path in (folder / INFO, Path(draft.path).parent / folder / INFO):
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return {name: {**item, "folder": path.parent} for name, item in found.items() if isinstance(item, dict)}
    return {}


def entry(draft: Draft, key: str, name: str, described: dict[str, Any]) -> Place:
    """One data set by name."""
    item = described.get(name)
    if item is None:
        path = f"{draft.value('dataset_dir')}/{name}.json"
        says = (
            f"{name} is not in {draft.value('dataset_dir')}/{INFO}, or that is not here: {path} is written; look it up"
        )
        draft.tell("differs", key, says)
        return {"path": path}
    if item.get("ranking"):
        raise draft.refuse(key, f"{name} holds preferences; {sft_only('ranking')}")
    hub = item.get("hf_hub_url")
    where = (
        place(hub, item.get("split") or "train", item.get("subset")) if hub else str(item["folder"] / item["file_name"])
    )
    return {"path": where, **shape(draft, key, name, item)}


def shape(draft: Draft, key: str, name: str, item: dict[str, Any]) -> Place:
    """The format and the columns of a described data set."""
    columns, tags = item.get("columns") or {}, item.get("tags") or {}
    if item.get("formatting") == "sharegpt":
        role = tags.get("role_tag", "from")
        if role not in ("from", "role"):
            draft.tell("no counterpart", key, f"{name}: turns are {{role, content}} or {{from, value}}; rename {role}")
        field = "messages" if role == "role" else "conversations"
        known = {**CONVERSATION, "messages": field}
        return {"format": "messages" if role == "role" else "sharegpt", **mapped(draft, key, name, columns, known)}
    draft.tell("differs", key, JOINED)
    return {"format": "alpaca", **mapped(draft, key, name, columns, ALPACA)}


def mapped(draft: Draft, key: str, name: str, columns: dict[str, str], ours: dict[str, str]) -> Place:
    """Columns under other names; those that no format reads are told."""
    for theirs in sorted(set(columns) - set(ours)):
        draft.tell("no counterpart", key, f"{name}: the column {columns[theirs]} ({theirs}) is not read")
    renamed = {ours[theirs]: column for theirs, column in columns.items() if theirs in ours and ours[theirs] != column}
    return {"columns": renamed} if renamed else {}


def template(draft: Draft) -> None:
    """A built-in template of the same name, else the tokenizer's own."""
    name = str(draft.value("template") or "")
    if name in draft.known.templates:
        draft.put("data.template", name, "template")
    elif name:
        says = "auto is the tokenizer's own template; LLaMA-Factory brings its own text for the name, which may differ"
        draft.put("data.template", "auto", "template", says=says)


def course(draft: Draft) -> None:
    """Length, batch, schedule, optimizer, checkpoints, precision."""
    packed = next((key for key in ("neat_packing", "packing") if draft.on(key)), None)
    trainer.batch(draft, "per_device_train_batch_size", packed)
    trainer.steps(draft)
    trainer.precision(draft, "fp32")
    draft.put("training.learning_rate", float(draft.number("learning_rate")), "learning_rate")
    draft.put("data.max_length", int(draft.number("cutoff_len")), "cutoff_len", says=LONGER)
    off = draft.on("disable_gradient_checkpointing")
    draft.put("training.gradient_checkpointing", not off, "disable_gradient_checkpointing")
    draft.claim("gradient_checkpointing", kind="dropped", says="disable_gradient_checkpointing decides there")
    if draft.on("packing") and not draft.on("neat_packing"):
        draft.put("training.packing", "auto", "packing", says="rows that share a line see each other there, never here")


TOOL = Tool(
    title="LLaMA-Factory",
    signature=words("finetuning_type stage cutoff_len lora_target lora_rank dataset template dataset_dir")
    | words("val_size overwrite_cache quantization_bit max_samples neat_packing plot_loss"),
    parts=(stage, model, method, rows, course),
    table={
        **trainer.TABLE,
        **LORA,
        "early_stopping_steps": same("evaluation.patience"),
        "packing": differs(
            "training.packing", "packing changes speed and memory here, not the gradient", lambda on: "auto"
        ),
        "neat_packing": differs(
            "training.packing", "packing changes speed and memory here, not the gradient", lambda on: "auto"
        ),
        "train_on_prompt": missing("prompts are never learned; data.supervise says which answers are"),
        "model_revision": missing("the newest revision of a hub id is taken; download another and name its folder"),
        "tool_format": missing("tools are shown by the chat template"),
        "mix_strategy": missing("data sets are joined; data.train[].weight mixes them"),
        **each(
            "interleave_probs eval_on_each_dataset",
            missing("data.train[].weight mixes sources; they are evaluated together"),
        ),
        **each("streaming buffer_size", missing("rows are read whole and cached")),
        **each("create_new_adapter", missing("an adapter that is named in model.adapter is gone on with")),
        **each("resize_vocab", internal("the model has rows for every token of its tokenizer")),
        **each("new_special_tokens_config", missing("name the tokens in model.added_tokens")),
        **each(
            "rope_scaling shift_attn mixture_of_depths train_from_scratch moe_aux_loss_coef",
            missing("a model is taken as its config.json says"),
        ),
        **each(
            "use_unsloth use_unsloth_gc enable_liger_kernel flash_attn use_v1_kernels",
            internal("kernels are chosen by accorda"),
        ),
        **each(
            "use_galore use_apollo use_badam use_adam_mini use_muon use_llama_pro",
            missing("that way of training is not built"),
        ),
        **each("use_dft_loss use_eaft_loss", missing("the objective is plain cross-entropy")),
        **each("fp8 fp8_backend", missing("precisions are fp32, bf16 and fp16")),
        **each(
            "freeze_trainable_layers freeze_trainable_modules freeze_extra_modules", missing("of the freeze method")
        ),
        **each(
            "quantization_method quantization_type double_quantization quantization_device_map",
            internal("number formats have no settings"),
        ),
        **each(
            "compute_accuracy predict_with_generate eval_num_beams",
            missing("see evaluation.metrics and evaluation.generate"),
        ),
        **each("disable_shuffling", missing("the order follows from the seed")),
        **each(
            "media_dir image_max_pixels image_min_pixels video_max_pixels freeze_vision_tower",
            missing("models of text only"),
        ),
        **each("use_swanlab swanlab_project swanlab_mode swanlab_run_name", missing("see training.trackers")),
        **each(
            "tokenized_path cache_dir use_fast_tokenizer split_special_tokens low_cpu_mem_usage",
            internal("rows are cached by content"),
        ),
        **each(
            "upcast_layernorm upcast_lmhead_output use_reentrant_gc ignore_pad_token_for_loss",
            internal("not a choice here"),
        ),
        **each(
            "hf_hub_token ms_hub_token print_param_status include_effective_tokens_per_second",
            internal("of the tool's own workings"),
        ),
        **each(
            "infer_backend infer_dtype use_kv_cache offload_folder do_predict export_dir",
            internal("of inference and export"),
        ),
    },
    defaults={
        "stage": "sft",
        "finetuning_type": "lora",
        "dataset_dir": "data",
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "num_train_epochs": 3,
        "learning_rate": 5e-5,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "cutoff_len": 2048,
        "lora_rank": 8,
        "lora_dropout": 0.0,
        "lora_target": "all",
    },
)

"""Axolotl: `axolotl train FILE`. Keys are those of its configuration reference."""

from typing import Any

from accorda.recipe.migrate import trainer
from accorda.recipe.migrate.draft import Draft
from accorda.recipe.migrate.lora import TABLE as LORA
from accorda.recipe.migrate.lora import added_tokens, full, lora, quantization
from accorda.recipe.migrate.rows import Place, entries, put_places, source, split_of
from accorda.recipe.migrate.rules import Tool, differs, each, internal, missing, same, sft_only, words

ENTRY = (
    "path",
    "type",
    "name",
    "split",
    "data_files",
    "ds_type",
    "field",
    "field_messages",
    "message_property_mappings",
)
ROLE_KEYS = (
    "message_field_role",
    "message_field_content",
    "roles_to_train",
    "train_on_eos",
    "chat_template",
    "conversation",
)
OVERLONG = {"drop": "skip", "truncate": "truncate", "raise": "error"}
CHATS = ("chat_template", "sharegpt")
CUSTOM = "its prompt text is not built again: the question is fed as it is, so write the prompt into the rows"


def stage(draft: Draft) -> None:
    """Supervised fine-tuning only."""
    for key in ("rl", "reward_model", "process_reward_model", "pretraining_dataset"):
        if draft.on(key):
            raise draft.refuse(key, sft_only(draft.value(key) if key == "rl" else key))
    draft.put("stage", "sft", why="neither rl nor reward_model nor pretraining_dataset")
    draft.claim("rl", "reward_model", "process_reward_model", "pretraining_dataset", kind="dropped", says="not set")


def model(draft: Draft) -> None:
    """The base and its number format."""
    if draft.has("base_model"):
        draft.put("model.path", draft.value("base_model"), "base_model")
    bits = (
        4 if draft.on("load_in_4bit") or draft.value("adapter") == "qlora" else 8 if draft.on("load_in_8bit") else None
    )
    keys = [key for key in ("load_in_4bit", "load_in_8bit", "gptq") if draft.on(key)]
    if bits or keys:
        quantization(draft, bits or 4, *(keys or ["adapter"]))
    draft.claim("load_in_4bit", "load_in_8bit", "gptq", kind="dropped", says="off")
    added_tokens(draft, "tokens")


def method(draft: Draft) -> None:
    """`adapter: lora` or `qlora`; empty trains every parameter."""
    adapter = draft.value("adapter")
    names = {"rank": "lora_r", "alpha": "lora_alpha", "dropout": "lora_dropout"}
    if not adapter:
        full(draft, "adapter")
        return draft.claim(*names.values(), kind="dropped", says="no adapter")
    if adapter not in ("lora", "qlora"):
        raise draft.refuse("adapter", "migrate knows lora, qlora and none; accorda methods lists what there is")
    targets: Any = draft.listed("lora_target_modules") or None
    targets = "all-linear" if draft.on("lora_target_linear") else targets
    keys = ["lora_target_linear"] if draft.on("lora_target_linear") else ["lora_target_modules"]
    lora(draft, **names, targets=targets, target_keys=keys)
    draft.claim("lora_target_linear", "lora_target_modules", kind="dropped", says="the other one of the two decides")
    return draft.claim("adapter")


def rows(draft: Draft) -> None:
    """The data sets, their formats, the chat template, and what is set apart for evaluation."""
    for key, split in (("datasets", "train"), ("test_datasets", "eval")):
        places = [entry(draft, f"{key}[{index}]", item) for index, item in enumerate(entries(draft, key))]
        if places:
            put_places(draft, split, places, key)
    template(draft, {kind for item in entries(draft, "datasets") if isinstance(kind := item.get("type"), str)})
    if draft.on("test_datasets"):
        draft.claim("val_set_size", kind="dropped", says="test_datasets is given")
    else:
        split_of(draft, "val_set_size")
    trainer.evaluations(draft, draft.on("test_datasets") or draft.on("val_set_size"))
    if draft.on("train_on_inputs"):
        draft.tell(
            "no counterpart", "train_on_inputs", "prompts are never learned; data.supervise says which answers are"
        )
    draft.claim("train_on_inputs", kind="dropped", says="prompts are never learned")


def entry(draft: Draft, at: str, item: dict[str, Any]) -> Place:
    """One data set: where its rows are, their format and columns. Keys that do not carry over are told."""
    found = source(draft, at, item)
    told(draft, at, item)
    kind = item.get("type")
    if isinstance(kind, dict):
        draft.tell("differs", f"{at}.type", CUSTOM, value=kind)
        asked, answer = kind.get("field_instruction") or "instruction", kind.get("field_output") or "output"
        return found | {"format": "completion", "columns": {"prompt": asked, "completion": answer}}
    return found | typed(draft, at, str(kind or ""), item)


def told(draft: Draft, at: str, item: dict[str, Any]) -> None:
    """The keys of an entry that choose turns, and those that nothing here does."""
    if "roles_to_train" in item and not item["roles_to_train"]:
        draft.put("data.supervise", "last", why=f"{at}.roles_to_train is empty")
    elif set(draft.listed(f"{at}.roles_to_train", item.get("roles_to_train"))) - {"assistant", "gpt"}:
        roles = item["roles_to_train"]
        draft.tell("no counterpart", f"{at}.roles_to_train", "only the assistant's turns are learned", value=roles)
    if item.get("train_on_eos") not in (None, "turn", "last"):
        draft.tell(
            "differs", f"{at}.train_on_eos", "the end of each learned turn is learned", value=item["train_on_eos"]
        )
    for key in sorted(set(item) - {*ENTRY, *ROLE_KEYS}):
        if item[key] not in (None, False, ""):
            draft.tell("no counterpart", f"{at}.{key}", "not read from a data set", value=item[key])


def typed(draft: Draft, at: str, kind: str, item: dict[str, Any]) -> Place:
    """The format that a named type of data set is here."""
    if kind.partition(":")[0] == "alpaca":
        draft.put("data.template", "alpaca", why=f"{at}.type: alpaca")
        return {"format": "alpaca"}
    if kind == "completion":
        column = item.get("field")
        return {"format": "text"} | ({"columns": {"text": column}} if column and column != "text" else {})
    if kind.startswith(CHATS):
        return conversation(draft, at, kind, item)
    says = "the format is found by the rows' columns; accorda data check shows what is made of them"
    draft.tell("differs", f"{at}.type", says, value=kind)
    return {}


def conversation(draft: Draft, at: str, kind: str, item: dict[str, Any]) -> Place:
    """Messages by role and content, or ShareGPT's by from and value; other names of these two cannot be mapped."""
    names = item.get("message_property_mappings") or {}
    if not isinstance(names, dict):
        raise draft.refuse(f"{at}.message_property_mappings", "must be a mapping", names)
    role = names.get("role") or item.get("message_field_role") or ("from" if kind == "sharegpt" else "role")
    known = {"role": "messages", "from": "sharegpt"}
    if role not in known:
        says = "turns are {role, content} or {from, value}; rename them in the rows"
        draft.tell("no counterpart", f"{at}.message_property_mappings", says, value=names or role)
        return {}
    usual = {"role": "messages", "from": "conversations"}[role]
    column = item.get("field_messages") or ("messages" if kind == "chat_template" else usual)
    return {"format": known[role]} | ({} if column == usual else {"columns": {usual: column}})


def template(draft: Draft, kinds: set[str]) -> None:
    """A built-in template of the same name, a .jinja file, or the tokenizer's own; one for all sources.

    Raises:
        Refusal: alpaca rows and conversations, which take different ones.
    """
    alpaca, chats = ({kind for kind in kinds if kind.startswith(names)} for names in ("alpaca", CHATS))
    if alpaca and chats:
        says = "one template renders all rows of a run, and Axolotl gives each type its own; migrate them one by one, "
        raise draft.refuse("datasets", f"{says}or turn the alpaca rows into messages", sorted(alpaca | chats))
    name = str(draft.value("chat_template") or "tokenizer_default")
    text = draft.value("chat_template_jinja")
    if isinstance(text, str) and text.endswith(".jinja"):
        draft.put("data.template", text, "chat_template_jinja", "chat_template")
    elif text:
        says = "put the text into a .jinja file and name it in data.template"
        draft.tell("no counterpart", "chat_template_jinja", says)
    elif name in draft.known.templates:
        draft.put("data.template", name, "chat_template")
    elif name != "tokenizer_default":
        says = "auto is the tokenizer's own template, and a plain one where it has none; other names are not built in"
        draft.put("data.template", "auto", "chat_template", says=says)
    draft.claim("chat_template", "chat_template_jinja")


def course(draft: Draft) -> None:
    """Length, batch, schedule, optimizer, checkpoints, precision."""
    trainer.batch(draft, "micro_batch_size", "sample_packing" if draft.on("sample_packing") else None)
    trainer.length(draft, "num_epochs")
    trainer.warmup(draft, "lr_scheduler")
    trainer.optimizer(draft, "optimizer")
    trainer.checkpoints(draft)
    trainer.precision(draft, "fp32")
    if draft.has("learning_rate"):
        draft.put("training.learning_rate", float(draft.number("learning_rate")), "learning_rate")
    draft.put("training.gradient_checkpointing", draft.on("gradient_checkpointing"), "gradient_checkpointing")
    draft.put("data.max_length", int(draft.number("sequence_len")), "sequence_len")
    strategy = draft.value("excess_length_strategy")
    draft.put("data.overlong", OVERLONG.get(str(strategy), "skip"), "excess_length_strategy")


def trackers(draft: Draft) -> None:
    """A tracker is on where its project or experiment is named."""
    asked = {"wandb": "wandb_project", "mlflow": "mlflow_experiment_name", "tensorboard": "use_tensorboard"}
    names = {name: key for name, key in asked.items() if draft.on(key) and name in draft.known.trackers}
    if names:
        draft.put("training.trackers", list(names), *names.values())
    draft.claim(*asked.values(), kind="dropped", says="not set")


TOOL = Tool(
    title="Axolotl",
    signature=words("base_model sequence_len sample_packing micro_batch_size num_epochs val_set_size adapter")
    | words("lora_target_linear dataset_prepared_path train_on_inputs pad_to_sequence_len flash_attention"),
    parts=(stage, model, method, rows, course, trackers),
    table={
        **trainer.TABLE,
        **LORA,
        "lora_model_dir": same("model.adapter"),
        "early_stopping_patience": same("evaluation.patience"),
        "sample_packing": differs(
            "training.packing", "packing changes speed and memory here, not the gradient", lambda on: "auto"
        ),
        "revision_of_model": missing("the newest revision of a hub id is taken; download another and name its folder"),
        "batch_size": missing("the product of micro_batch_size, accumulation and devices is taken"),
        **each(
            "special_tokens added_tokens_overrides eot_tokens",
            missing("the tokenizer's own special tokens stay; model.added_tokens adds further ones"),
        ),
        **each("unfrozen_parameters", missing("which parameters train is the method's: accorda methods")),
        **each(
            "shuffle_merged_datasets dataset_exact_deduplication",
            missing("rows are shuffled by the seed; accorda data check counts repeated ones"),
        ),
        **each(
            "loss_watchdog_threshold loss_watchdog_patience",
            missing("a loss that is not finite stops the run; a high one does not"),
        ),
        **each(
            "lr_quadratic_warmup cosine_min_lr_ratio cosine_constant_lr_ratio lr_div_factor",
            missing("schedules end at zero"),
        ),
        **each(
            "lr_groups embedding_lr embedding_lr_scale", missing("one learning rate, unless the method says otherwise")
        ),
        **each(
            "overrides_of_model_config overrides_of_model_kwargs base_model_config",
            missing("a model is taken as its config.json says"),
        ),
        **each(
            "tokenizer_config resize_token_embeddings_to_32x shrink_embeddings",
            missing("the model's own tokenizer and embeddings"),
        ),
        **each("relora relora_steps relora_warmup_steps relora_prune_ratio", missing("ReLoRA is not built")),
        **each("sequence_parallel_degree context_parallel_size tensor_parallel_size", missing(trainer.ONE_PROCESS)),
        **each("plugins datasets_plugins", missing("plugins of Axolotl cannot be run here")),
        **each("max_memory device_map gpu_memory_limit lora_on_cpu", missing("the model lies on one device")),
        **each(
            "qat quantization peft bnb_config_kwargs",
            missing("number formats have no settings; see model.quantization"),
        ),
        **each(
            "wandb_entity wandb_watch wandb_name wandb_run_id wandb_log_model wandb_mode",
            internal("the tracker names a run by its folder"),
        ),
        **each(
            "mlflow_tracking_uri mlflow_run_name hf_mlflow_log_artifacts use_comet", internal("see training.trackers")
        ),
        **each(
            "model_type tokenizer_type tokenizer_use_fast tokenizer_legacy strict debug",
            internal("told by the model's files"),
        ),
        **each(
            "is_falcon_derived_model is_llama_derived_model is_mistral_derived_model is_qwen_derived_model",
            internal("told by config.json"),
        ),
        **each(
            "dataset_prepared_path dataset_keep_in_memory push_dataset_to_hub hf_use_auth_token",
            internal("rows are cached by content"),
        ),
        **each(
            "pad_to_sequence_len eval_sample_packing sample_packing_group_size sample_packing_bin_size",
            internal("packing needs no padding"),
        ),
        **each(
            "sample_packing_eff_est total_num_tokens sample_pack_sequentially batch_flattening",
            internal("packing needs no estimate"),
        ),
        **each(
            "flash_attention xformers_attention sdp_attention flex_attention eager_attention attn_implementation",
            internal("accorda chooses how attention is computed"),
        ),
        **each(
            "flash_attn_cross_entropy flash_attn_rms_norm flash_attn_fuse_qkv flash_attn_fuse_mlp s2_attention",
            internal("kernels are chosen by accorda"),
        ),
        **each(
            "lora_mlp_kernel lora_qkv_kernel lora_o_kernel lora_embedding_kernel",
            internal("kernels are chosen by accorda"),
        ),
        **each(
            "lora_fan_in_fan_out low_cpu_mem_usage bfloat16 float16 embeddings_skip_upcast",
            internal("told by the model's layers and dtype"),
        ),
        **each(
            "eval_batch_size eval_table_size eval_max_new_tokens do_causal_lm_eval",
            internal("see evaluation.metrics and evaluation.generate"),
        ),
        **each(
            "auto_resume_from_checkpoints save_first_step profiler_steps saves_per_epoch", internal("not a choice here")
        ),
        **each("default_system_message", missing("a system turn stands in the rows")),
        "curriculum_sampling": missing("the order follows from the seed"),
    },
    defaults={
        "micro_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "num_epochs": 1,
        "lr_scheduler": "cosine",
        "sequence_len": 512,
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.0,
        "weight_decay": 0.0,
    },
)

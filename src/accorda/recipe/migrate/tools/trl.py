"""TRL's command line: `trl sft --config FILE`. Keys are fields of SFTConfig, ModelConfig and ScriptArguments."""

from collections.abc import Mapping
from typing import Any

from accorda.recipe.migrate import trainer
from accorda.recipe.migrate.draft import Draft
from accorda.recipe.migrate.lora import TABLE as LORA
from accorda.recipe.migrate.lora import full, lora, quantization
from accorda.recipe.migrate.rows import Place, entries, place, put_places, source
from accorda.recipe.migrate.rules import Tool, differs, each, internal, missing, sft_only, words

OTHER_STAGES = {  # keys of other trainers, by what they train
    **dict.fromkeys(words("desirable_weight undesirable_weight"), "kto"),
    **dict.fromkeys(words("num_generations max_completion_length reward_funcs use_vllm"), "grpo"),
    **dict.fromkeys(words("beta precompute_ref_log_probs max_prompt_length ref_model_name_or_path"), "dpo"),
    "center_rewards_coefficient": "reward",
    "reward_model_name_or_path": "ppo",
}
WHOLE = "TRL learns every token of a conversation unless assistant_only_loss; here the assistant's turns are learned"
LONGER = "longer rows are cut there and left out here, counted and listed; data.overlong=truncate cuts them"


def stage(draft: Draft) -> None:
    """Supervised fine-tuning only: the configuration of another trainer has keys of its own."""
    others = [key for key in OTHER_STAGES if key in draft.given and draft.has(key)]  # what says most stands first
    if others:
        raise draft.refuse(others[0], f"a key of another trainer than trl sft; {sft_only(OTHER_STAGES[others[0]])}")
    draft.put("stage", "sft", why="trl sft")


def model(draft: Draft) -> None:
    """The base, its dtype and number format."""
    if draft.has("model_name_or_path"):
        draft.put("model.path", draft.value("model_name_or_path"), "model_name_or_path")
    dtype = draft.value("dtype", "torch_dtype")
    names = {"bfloat16": "bfloat16", "float16": "float16", "float32": "float32"}
    draft.put("model.dtype", names.get(str(dtype), "auto"), "dtype", "torch_dtype")
    bits = 8 if draft.on("load_in_8bit") else 4 if draft.on("load_in_4bit") else None
    keys = [key for key in ("load_in_8bit", "load_in_4bit") if draft.on(key)]
    quantization(draft, bits, *keys)
    if bits == 4:
        draft.put("model.double_quantization", draft.on("use_bnb_nested_quant"), "use_bnb_nested_quant")
    draft.claim("load_in_8bit", "load_in_4bit", kind="dropped", says="off")


def method(draft: Draft) -> None:
    """LoRA where use_peft says so, else every parameter."""
    names = {"rank": "lora_r", "alpha": "lora_alpha", "dropout": "lora_dropout"}
    if not draft.on("use_peft"):
        full(draft, "use_peft")
        draft.claim(*names.values(), "lora_target_modules", kind="dropped", says="use_peft is off")
        return
    targets: Any = draft.listed("lora_target_modules") or None
    targets = "all-linear" if targets == ["all-linear"] else targets
    lora(draft, **names, targets=targets, target_keys=["lora_target_modules"])
    draft.claim("use_peft")


def rows(draft: Draft) -> None:
    """A data set by name, or a list of them, with the splits."""
    listed = entries(draft, "datasets")
    train, test = draft.value("dataset_train_split"), draft.value("dataset_test_split")
    evaluated = draft.value("eval_strategy", "evaluation_strategy") not in (None, False, "no")
    if listed:
        put_places(draft, "train", [listed_place(draft, index, item) for index, item in enumerate(listed)], "datasets")
        draft.claim("dataset_name", kind="dropped", says="datasets is given and wins")
    elif draft.has("dataset_name"):
        name, configuration = str(draft.value("dataset_name")), draft.value("dataset_config")
        put_places(draft, "train", [{"path": place(name, train, configuration)}], "dataset_name", "dataset_config")
        if evaluated and place(name).startswith("hf:"):
            draft.put("data.eval", place(name, test, configuration), "dataset_test_split", why="dataset_test_split")
    held = draft.number("test_split_size") if draft.has("test_split_size") else 0
    if held or not evaluated:
        draft.put("data.eval_split", float(held), "test_split_size")
    draft.claim("dataset_train_split", "dataset_test_split")
    trainer.evaluations(draft, evaluated)


def listed_place(draft: Draft, index: int, item: Mapping[str, Any]) -> Place:
    """One entry of `datasets`."""
    for key in sorted(set(item) - {"path", "name", "split", "data_files"}):
        reason = "shares of a mixture are weights here: data.train[].weight" if key == "fraction" else "not read"
        draft.tell("no counterpart", f"datasets[{index}].{key}", reason, value=item[key])
    return source(draft, f"datasets[{index}]", item)


def learned(draft: Draft) -> None:
    """Which tokens count: TRL's two switches, and the column of running text."""
    draft.put("data.supervise", "all", "assistant_only_loss")
    if not draft.on("assistant_only_loss"):
        draft.tell("differs", "assistant_only_loss", WHOLE, "data.supervise", value=False)
    if draft.value("completion_only_loss") is False:
        draft.tell("no counterpart", "completion_only_loss", "the prompt of a row is never learned")
    draft.claim("completion_only_loss")
    if draft.has("dataset_text_field") and draft.value("dataset_text_field") != "text":
        draft.put("data.columns", {"text": draft.value("dataset_text_field")}, "dataset_text_field")
    draft.claim("dataset_text_field")


def course(draft: Draft) -> None:
    """Length, batch, schedule, optimizer, checkpoints, precision."""
    trainer.batch(draft, "per_device_train_batch_size", "packing" if draft.on("packing") else None)
    trainer.steps(draft)
    trainer.precision(draft, "auto")
    wanted = draft.on("gradient_checkpointing")
    draft.put("training.gradient_checkpointing", wanted, "gradient_checkpointing")
    draft.put("training.learning_rate", float(draft.number("learning_rate")), "learning_rate")
    most = draft.value("max_length", "max_seq_length")
    if draft.given.get("max_length", most) is None:
        draft.put(
            "data.max_length", "auto", "max_length", says="unlimited there; auto: the model's positions, at most 1024"
        )
    else:
        keys = ("max_length", "max_seq_length")
        draft.put("data.max_length", int(draft.number(*keys)), *keys, says=LONGER)


TOOL = Tool(
    title="TRL",
    signature=words("dataset_name use_peft lora_target_parameters max_seq_length assistant_only_loss eos_token")
    | words("completion_only_loss dataset_text_field lora_task_type dataset_train_split packing_strategy"),
    parts=(stage, model, method, rows, learned, course),
    table={
        **trainer.TABLE,
        **LORA,
        "model_revision": missing("the newest revision of a hub id is taken; download another and name its folder"),
        "packing": differs(
            "training.packing", "rows share lines and never see each other; the gradient stays", lambda on: "auto"
        ),
        "chat_template_path": differs("data.template", "a .jinja file; a tokenizer's folder is not read"),
        **each(
            "eos_token pad_token",
            missing("an answer ends with the template's own end of turn; padding is masked by position"),
        ),
        **each("loss_type", missing("the loss is the negative log-likelihood")),
        **each("dataset_streaming streaming", missing("rows are read whole and cached")),
        **each("eval_packing padding_free packing_strategy", internal("packing never lets rows see each other")),
        **each("shuffle_dataset dataset_kwargs", internal("the order follows from the seed")),
        **each("attn_implementation model_init_kwargs", internal("accorda chooses how attention is computed")),
        **each(
            "activation_offloading activation_checkpointing",
            missing("activations stay on the device; gradient_checkpointing spares memory"),
        ),
        **each("truncation_mode pad_to_multiple_of ignore_bias_buffers lora_task_type", internal("not a choice here")),
        **each("bnb_4bit_quant_type use_bnb_nested_quant bnb_4bit_quant_storage", internal("of a base of 4 bits")),
        "router_aux_loss_coef": missing("mixtures of experts are not tuned"),
        "datasets": internal("no data set is listed"),
        "env": internal("environment variables are set outside"),
        "config": internal("the file itself"),
    },
    defaults={
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "num_train_epochs": 3,
        "learning_rate": 2e-5,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "max_length": 1024,
        "gradient_checkpointing": True,
        "dtype": "float32",
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
        "dataset_train_split": "train",
        "dataset_test_split": "test",
    },
)

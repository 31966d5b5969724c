import contextlib
import dataclasses
import json

import pytest
import trl
from tests.recipe.migrate import configs
from tests.stages.runs import SUMS, write_rows
from tests.zoo import tiny_model_folder
from transformers import Seq2SeqTrainingArguments

from accorda.cli.migrate import known
from accorda.errors import Refusal
from accorda.methods.registry import read as read_method
from accorda.recipe.layers import mapping
from accorda.recipe.load import load
from accorda.recipe.migrate.convert import migrate
from accorda.recipe.migrate.registry import tools
from accorda.stages import train

KNOWN = known()  # once


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with rows in several shapes and LLaMA-Factory's list of data sets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    write_rows(tmp_path / "rows.jsonl", SUMS)
    asked = [{"question": row["prompt"], "answer": row["completion"]} for row in SUMS]
    (tmp_path / "data" / "sums.json").write_text(json.dumps(asked))
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(configs.DATASET_INFO))
    return tmp_path


def converted(place, text, devices=1, tool=None, **names):
    names = {"model": "llama", "rows": "rows.jsonl", "output": "out", "folder": "data"} | names
    path = place / "other.yaml"
    path.write_text(text.format(**names), encoding="utf-8")
    return migrate("other.yaml", lambda: KNOWN, devices=devices, tool=tool)


def values(migration):
    """The settings that were written, by dotted name."""
    given = {name for name, origin in migration.recipe.origins.items() if origin != "default"}
    settings = flat(mapping(migration.recipe))
    return {name: item for name, item in settings if any(f"{one}.".startswith(f"{name}.") for one in given)}


def part(expected, found):
    """Of what was found, what is expected."""
    return {name: found.get(name, "missing") for name in expected}


def flat(tree, at=""):
    for key, value in tree.items():
        name = f"{at}.{key}" if at else key
        if isinstance(value, dict) and name != "data.columns":
            yield from flat(value, name)
        else:
            yield name, value


def kinds(migration):
    return {note.key: note.kind for note in migration.notes}


def says(migration, key):
    return "; ".join(next(note for note in migration.notes if note.key == key).says)


TEXTS = {name: text for name, text in vars(configs).items() if name.isupper() and isinstance(text, str)}


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_is_a_recipe_and_says_the_same(name, here):
    found = converted(here, TEXTS[name])
    (here / "recipe.yaml").write_text(found.text, encoding="utf-8")
    recipe = load("recipe.yaml")
    assert mapping(recipe) == mapping(found.recipe)
    read_method(recipe.method)
    settings = [line for line in found.text.splitlines() if ": " in line and not line.startswith("#")]
    assert settings
    assert all("  # " in line for line in settings)


@pytest.mark.parametrize("name", TEXTS)
def test_every_key_has_a_note_with_its_line(name, here):
    found = converted(here, TEXTS[name])
    lines = (here / "other.yaml").read_text().splitlines()
    keys = [line.partition(":")[0] for line in lines if line and line[0].isalpha()]
    assert set(keys) <= set(kinds(found))
    for note in found.notes:
        if note.line is not None and "." not in note.key:
            assert lines[note.line - 1].startswith(f"{note.key}:")


def test_trl_with_lora(here):
    found = converted(here, configs.TRL_LORA, devices=2)
    assert found.tool == "TRL"
    assert values(found) == {
        "stage": "sft",
        "model.path": "llama",
        "model.dtype": "float32",
        "data.train": "rows.jsonl",
        "data.eval_split": 0.0,
        "data.supervise": "all",
        "data.max_length": 128,
        "method.name": "lora",
        "method.rank": 4,
        "method.alpha": 8.0,
        "method.dropout": 0.0,
        "method.target_modules": ["q_proj", "v_proj"],
        "training.max_steps": 4,
        "training.epochs": 1,
        "training.batch_size": 16,  # 4 per device, 2 accumulated, 2 devices
        "training.micro_batch_size": 4,
        "training.learning_rate": 1e-3,
        "training.schedule": "cosine",
        "training.warmup_steps": 1,  # a quarter of 4 steps
        "training.optimizer.name": "adamw",
        "training.packing": "auto",
        "training.precision": "fp32",
        "training.gradient_checkpointing": False,
        "training.checkpoint_every": 2,
        "training.seed": 7,
        "output": "out",
    }
    told = kinds(found)
    assert told["moon_phase"] == "unknown"
    assert told["neftune_noise_alpha"] == told["eos_token"] == "no counterpart"
    assert told["push_to_hub"] == told["hub_model_id"] == told["logging_steps"] == told["report_to"] == "dropped"
    assert told["per_device_train_batch_size"] == told["max_length"] == told["assistant_only_loss"] == "differs"
    assert "4 per device x 2 accumulated x 2 devices" in says(found, "per_device_train_batch_size")
    assert "packed lines" in says(found, "per_device_train_batch_size")


def test_trl_full_on_data_sets_of_the_hub(here):
    found = converted(here, configs.TRL_FULL)
    got = values(found)
    assert got["data.train"] == [{"path": "hf:acme/chats:train_sft"}, {"path": "extra.jsonl"}]
    assert (got["data.eval_split"], got["evaluation.every"], got["method.name"]) == (0.1, 25, "full")
    assert (got["training.epochs"], got["training.batch_size"], got["training.learning_rate"]) == (3, 8, 2e-5)
    assert (got["training.schedule"], got["training.warmup_steps"]) == ("linear", 0)
    assert got["training.gradient_checkpointing"] is True
    assert got["training.trackers"] == ["wandb"]
    told = kinds(found)
    assert told["report_to"] == told["datasets[1].fraction"] == "no counterpart"
    assert told["assistant_only_loss"] == "mapped"
    assert "comet_ml" in says(found, "report_to")


def test_axolotl_with_lora(here):
    found = converted(here, configs.AXOLOTL_LORA)
    assert found.tool == "Axolotl"
    got = values(found)
    expected = {
        "model.path": "llama",
        "model.quantization": "int8",
        "data.train": "rows.jsonl",
        "data.format": "completion",
        "data.columns": {"prompt": "prompt", "completion": "completion"},
        "data.eval_split": 0.1,
        "data.max_length": 128,
        "data.overlong": "skip",
        "method.rank": 4,
        "method.name": "rslora",
        "method.alpha": 8.0,
        "method.target_modules": "all-linear",
        "training.batch_size": 6,
        "training.max_steps": 3,
        "training.learning_rate": 2e-3,
        "training.schedule": "linear",
        "training.warmup_steps": 1,
        "training.optimizer.name": "paged_adamw_8bit",
        "training.optimizer.beta2": 0.95,
        "training.precision": "fp32",
        "training.checkpoint_every": 2,
        "training.weight_decay": 0.01,
        "evaluation.every": 2,
        "evaluation.patience": 3,
    }
    assert part(expected, got) == expected
    told = kinds(found)
    assert told["datasets[0].type"] == told["load_in_8bit"] == "differs"
    assert told["optimizer"] == told["peft_use_rslora"] == "mapped"
    assert told["special_tokens"] == "no counterpart"
    assert told["strict"] == told["flash_attention"] == told["wandb_project"] == told["lora_model_dir"] == "dropped"


def test_axolotl_with_conversations(here):
    found = converted(here, configs.AXOLOTL_CHAT)
    got = values(found)
    assert got["data.train"] == [
        {"path": "hf:acme/chats:train", "format": "sharegpt"},
        {"path": "chats.jsonl", "format": "messages"},
        {"path": "hf:acme/stories:english:validation", "format": "text", "columns": {"text": "story"}},
    ]
    assert got["data.eval"] == [{"path": "held.jsonl", "format": "messages"}]
    assert (got["data.template"], got["data.supervise"]) == ("chatml", "last")
    assert (got["method.name"], got["training.epochs"], got["training.precision"]) == ("full", 2, "auto")
    assert got["training.schedule"] == "cosine"
    assert got["training.trackers"] == ["wandb"]
    told = kinds(found)
    assert told["lr_scheduler"] == told["train_on_inputs"] == told["datasets[1].roles_to_train"] == "no counterpart"
    assert told["num_epochs"] == told["evals_per_epoch"] == "differs"


def test_llama_factory_with_lora(here):
    found = converted(here, configs.FACTORY_LORA)
    assert found.tool == "LLaMA-Factory"
    expected = {
        "data.train": "data/sums.json",
        "data.format": "alpaca",
        "data.columns": {"instruction": "question", "output": "answer"},
        "data.limit": 30,
        "data.template": "auto",
        "data.eval_split": 0.1,
        "data.supervise": "all",
        "method.alpha": 8.0,  # twice the rank unless given
        "method.target_modules": "all-linear",
        "training.batch_size": 8,
        "training.warmup_steps": 1,
        "training.gradient_checkpointing": True,
        "training.precision": "fp32",
        "evaluation.every": 2,
    }
    assert part(expected, values(found)) == expected
    told = kinds(found)
    assert told["template"] == told["cutoff_len"] == "differs"
    assert told["dataset"] == "no counterpart"  # a column of pictures
    assert told["ddp_timeout"] == told["plot_loss"] == told["per_device_eval_batch_size"] == "dropped"
    assert "pictures" in says(found, "dataset")


def test_llama_factory_full(here):
    found = converted(here, configs.FACTORY_FULL)
    got = values(found)
    assert got["data.train"] == [
        {"path": "hf:acme/chats:train_sft", "format": "messages", "columns": {"messages": "talk"}},
        {"path": "data/tools.json", "format": "sharegpt"},
        {"path": "data/unheard.json"},
    ]
    assert got["data.eval"] == [{"path": "data/held.json", "format": "sharegpt"}]
    assert (got["data.template"], got["data.supervise"], got["method.name"]) == ("chatml", "last", "full")
    told = kinds(found)
    assert told["deepspeed"] == told["lr_scheduler_type"] == "no counterpart"
    assert (told["quantization_bit"], got["model.quantization"]) == ("mapped", "nf4")
    assert told["packing"] == "differs"
    assert "unheard" in says(found, "dataset")
    assert "see each other" in says(found, "packing")


START = "model_name_or_path: a\ndataset_name: b\n"


def test_a_four_bit_base_is_nf4(here):
    found = converted(here, configs.AXOLOTL_LORA.replace("load_in_4bit: false", "load_in_4bit: true"))
    assert values(found)["model.quantization"] == "nf4"
    assert kinds(found)["load_in_4bit"] == "mapped"
    for nested in ("", "use_bnb_nested_quant: true\n"):
        found = values(converted(here, f"{START}use_peft: true\nload_in_4bit: true\n{nested}"))
        assert found["model.quantization"] == "nf4"
        assert found["model.double_quantization"] == bool(nested)
    factory = configs.FACTORY_FULL + "\ndouble_quantization: false\n"
    assert values(converted(here, factory))["model.double_quantization"] is False


SMALL = {
    "a constant rate has no warm-up": (
        "lr_scheduler_type: constant\nwarmup_steps: 5\n",
        {"training.schedule": "constant", "training.warmup_steps": 0},
    ),
    "a constant rate after warm-up": (
        "lr_scheduler_type: constant_with_warmup\nwarmup_steps: 5\n",
        {"training.schedule": "constant", "training.warmup_steps": 5},
    ),
    "a share of an unknown number of steps": ("warmup_ratio: 0.1\n", {"training.warmup_steps": "auto"}),
    "a share given as steps": ("warmup_steps: 0.5\nmax_steps: 9\n", {"training.warmup_steps": 5}),
    "no clipping": ("max_grad_norm: 0\n", {"training.max_grad_norm": None}),
    "adafactor": ("optim: adafactor\nadam_beta1: 0.8\n", {"training.optimizer": {"name": "adafactor"}}),
    "an optimizer that is not here": ("optim: lomo\n", {"training.optimizer": {"name": "adamw"}}),
    "eight bits": ("optim: adamw_bnb_8bit\n", {"training.optimizer": {"name": "adamw_8bit"}}),
    "pages": (
        "optim: paged_adamw_32bit\nadam_beta1: 0.8\n",
        {"training.optimizer": {"name": "paged_adamw", "beta1": 0.8}},
    ),
    "DoRA": ("use_peft: true\nuse_dora: true\n", {"method.name": "dora", "method.rank": 16, "method.alpha": 32.0}),
    "DoRA scaled as rsLoRA": (  # 32 / sqrt(16) is 128 / 16
        "use_peft: true\nuse_dora: true\nuse_rslora: true\n",
        {"method.name": "dora", "method.alpha": 128.0},
    ),
    "checkpoints by epoch": ("save_strategy: epoch\nsave_steps: 7\n", {"training.checkpoint_every": 100}),
    "fp16": ("fp16: true\n", {"training.precision": "fp16"}),
    "neither": ("fp16: false\nbf16: false\n", {"training.precision": "fp32"}),
    "both lengths": ("max_seq_length: 300\n", {"data.max_length": 300}),
    "no length": ("max_length:\n", {"data.max_length": "auto"}),
    "peft's own targets": (
        "use_peft: true\n",
        {"method.target_modules": ["attention.query", "attention.value"], "method.dropout": 0.05},
    ),
    "text of another column": ("dataset_text_field: body\n", {"data.columns": {"text": "body"}}),
    "a split of the hub": (
        "eval_strategy: steps\ndataset_config: en\n",
        {"data.train": "hf:b:en:train", "data.eval": "hf:b:en:test"},
    ),
    "a 16-bit base": ("torch_dtype: bfloat16\n", {"model.dtype": "bfloat16"}),
}


@pytest.mark.parametrize("case", SMALL)
def test_keys_that_belong_together(case, here):
    text, expected = SMALL[case]
    found = converted(here, START + text)
    settings = dict(flat(mapping(found.recipe))) | {"training.optimizer": found.recipe.training.optimizer}
    assert part(expected, settings) == expected
    assert {line.partition(":")[0] for line in text.splitlines()} <= set(kinds(found))


def test_a_count_of_rows_is_no_share(here):
    found = converted(here, configs.AXOLOTL_LORA.replace("val_set_size: 0.1", "val_set_size: 100"))
    assert values(found)["data.eval_split"] == 0.05
    assert kinds(found)["val_set_size"] == "differs"


def test_variants_of_lora(here):
    plus = values(converted(here, configs.FACTORY_LORA + "loraplus_lr_ratio: 8\n"))
    assert (plus["method.name"], plus["method.ratio"], plus["method.rank"]) == ("lora_plus", 8.0, 4)
    exact = values(converted(here, configs.FACTORY_LORA + "pissa_init: true\npissa_iter: -1\n"))
    assert (exact["method.name"], exact["method.iterations"]) == ("pissa", None)
    assert "method.dropout" not in exact

    def start(init):
        return converted(here, configs.AXOLOTL_LORA.replace("use_rslora: true", f"init_lora_weights: {init}"))

    fast = values(start("pissa_niter_4"))
    assert (fast["method.name"], fast["method.iterations"]) == ("pissa", 4)
    drawn = start("gaussian")
    assert (values(drawn)["method.name"], values(drawn)["method.init"]) == ("lora", "gaussian")
    other = start("olora")
    assert kinds(other)["peft_init_lora_weights"] == "no counterpart"
    both = converted(here, configs.FACTORY_LORA + "use_dora: true\nloraplus_lr_ratio: 8\n")
    assert values(both)["method.name"] == "dora"
    assert says(both, "loraplus_lr_ratio") == "not together with dora, which is written"


def test_added_tokens(here):
    found = converted(here, configs.FACTORY_LORA + "add_tokens: <a>,<b>\nresize_vocab: true\n")
    assert values(found)["model.added_tokens"] == ["<a>", "<b>"]
    found = converted(here, configs.AXOLOTL_LORA + "tokens: [<a>]\n")
    assert values(found)["model.added_tokens"] == ["<a>"]


REFUSED = {
    "a recipe with a stage": ("stage: sft\ndata: {{train: rows}}\n", "already; train by it"),
    "dpo of LLaMA-Factory": (
        configs.FACTORY_LORA.replace("stage: sft", "stage: dpo"),
        "other.yaml:5: stage = dpo: DPO",
    ),
    "pretraining of LLaMA-Factory": (configs.FACTORY_LORA.replace("stage: sft", "stage: pt"), "pretraining"),
    "preference rows": (configs.FACTORY_LORA.replace("dataset: sums", "dataset: pairs"), "pairs holds preferences"),
    "OFT": (configs.FACTORY_LORA.replace("type: lora", "type: oft"), "finetuning_type = oft"),
    "an export": (configs.FACTORY_LORA.replace("do_train: true", "export_dir: x"), "does not train"),
    "dpo of Axolotl": (configs.AXOLOTL_LORA + "rl: dpo\n", "rl = dpo"),
    "a reward model of Axolotl": (configs.AXOLOTL_LORA + "reward_model: true\n", "reward_model"),
    "an adapter of a plugin": (configs.AXOLOTL_LORA.replace("adapter: lora", "adapter: wobble"), "adapter = wobble"),
    "dpo of TRL": (configs.TRL_LORA + "beta: 0.1\n", "beta = 0.1: a key of another trainer"),
    "alpaca rows among conversations": (
        configs.AXOLOTL_CHAT.replace("type: completion", "type: alpaca"),
        'datasets = ["alpaca", "chat_template"]: one template renders all rows of a run',
    ),
    "no tool": ("a: 1\nb: 2\n", "no tool has these keys (a, b)"),
    "a recipe": ("model: {{path: a}}\ntraining: {{epochs: 1}}\n", "a recipe of accorda already"),
    "accelerate": ("distributed_type: FSDP\ncompute_environment: LOCAL_MACHINE\n", "a configuration of accelerate"),
    "a list": ("- a\n", "must be a mapping"),
    "nothing": ("", "the file is empty; name another"),
    "no YAML": ("a: [1\n", "not valid YAML"),
    "a key twice": ("base_model: a\nbase_model: b\n", "given twice"),
    "a value out of range": (configs.AXOLOTL_LORA.replace("lora_r: 4", "lora_r: 4\nseed: -3"), "training.seed = -3"),
    "a number that is none": (configs.AXOLOTL_LORA.replace('"2e-3"', "fast"), "learning_rate = fast: must be a number"),
}


ODD = (5, -1, "abc", True, [1], [["x"]], {"a": 1}, [{"path": 3, "type": 4}], ["a", "b"])
INNER = (
    *("path", "type", "split", "name", "data_files", "roles_to_train", "message_property_mappings", "field_messages"),
    *("message_field_role", "train_on_eos", "field", "ds_type"),
)
STARTS = {"axolotl": {"base_model": "a", "adapter": "lora"}, "trl": {"model_name_or_path": "a", "use_peft": True}}
STARTS["llamafactory"] = {"model_name_or_path": "a", "stage": "sft", "dataset": "sums"}


@pytest.mark.parametrize("name", sorted(STARTS))
def test_whatever_stands_behind_a_key_is_read_or_refused(name, here):
    tool, start = tools()[name], STARTS[name]
    read = {key for key, rule in tool.table.items() if rule.setting} | {*tool.defaults, *tool.signature, "datasets"}
    read |= {line.partition(":")[0] for text in TEXTS.values() for line in text.splitlines() if line[:1].isalpha()}
    given = [start | {key: value} for key in sorted(read) for value in ODD]
    given += [start | {"datasets": [{"path": "a", key: value}]} for key in INNER for value in ODD]
    for configuration in given:
        (here / "other.json").write_text(json.dumps(configuration), encoding="utf-8")
        with contextlib.suppress(Refusal):
            read_method(migrate("other.json", lambda: KNOWN, tool=name).recipe.method)


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_place(case, here):
    text, words = REFUSED[case]
    with pytest.raises(Refusal) as refusal:
        converted(here, text)
    assert words in str(refusal.value)
    assert "other.yaml" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_tool_can_be_named(here):
    text = "model_name_or_path: a\nlearning_rate: 1e-3\n"
    with pytest.raises(Refusal, match="--from"):
        converted(here, text)
    assert converted(here, text, tool="trl").recipe.training.epochs == 3
    with pytest.raises(Refusal, match="did you mean trl"):
        converted(here, text, tool="tlr")
    with pytest.raises(Refusal, match=r"nowhere.yaml: cannot be read"):
        migrate("nowhere.yaml", lambda: KNOWN)


def fields(*classes):
    return {field.name for cls in classes for field in dataclasses.fields(cls)}


@pytest.mark.parametrize(
    ("tool", "start", "names"),
    [
        (
            "trl",
            "model_name_or_path: a\ndataset_name: b\n",
            fields(trl.SFTConfig, trl.ModelConfig, trl.ScriptArguments, trl.DatasetMixtureConfig),
        ),
        ("llamafactory", "model_name_or_path: a\ndataset: b\nstage: sft\n", fields(Seq2SeqTrainingArguments)),
    ],
)
def test_every_argument_of_the_installed_versions_is_known(tool, start, names, here):
    given = {line.partition(":")[0] for line in start.splitlines()}
    text = start + "".join(f"{name}:\n" for name in sorted(names - given))
    assert [key for key, kind in kinds(converted(here, text, tool=tool)).items() if kind == "unknown"] == []


def test_no_rule_names_a_setting_that_does_not_exist():
    for tool in tools().values():
        for rule in tool.table.values():
            section, _, name = rule.setting.partition(".")
            assert not rule.setting or section in ("method", "output") or name in mapping(load())[section]
            assert rule.says or rule.kind == "mapped"


@pytest.mark.parametrize("name", ["TRL_LORA", "AXOLOTL_LORA", "FACTORY_LORA"])
def test_the_recipe_trains_and_proves_itself(name, here):
    tiny_model_folder(here)
    (here / "recipe.yaml").write_text(converted(here, TEXTS[name]).text, encoding="utf-8")
    run = train(load("recipe.yaml", overrides=["training.threads=1"]))
    assert run.proven
    assert run.result["steps"] == load("recipe.yaml").training.max_steps
    assert run.result["method"] == ("rslora" if name == "AXOLOTL_LORA" else "lora")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("stage: rm\nfinetuning_type: lora\n", "reward"),
        ("stage: pt\nfinetuning_type: lora\n", "pretrain"),
        ("beta: 0.1\ndesirable_weight: 1.0\ndataset_name: d\n", "kto"),
        ("beta: 0.1\nnum_generations: 4\ndataset_name: d\n", "grpo"),
        ("rl: simpo\nbase_model: m\nmicro_batch_size: 1\nsequence_len: 9\n", "simpo"),
    ],
)
def test_what_is_not_read_has_a_beginning(text, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refusal, match=f"supervised fine-tuning only; begin with: accorda init {name}$"):
        converted(tmp_path, text)

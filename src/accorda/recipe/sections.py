"""The recipe: every setting of a run, with its default. Sections that a registry's class reads stay mappings."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from accorda.errors import Refusal
from accorda.recipe.layers import as_plain, leaves, mapping, put
from accorda.recipe.reader import origin_of, read
from accorda.recipe.registries import stages
from accorda.recipe.sources import Rows, Source, Sources, plain_sources, read_sources
from accorda.recipe.types import (
    Auto,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Share,
    Text,
    Threads,
)

PYTHON = "python"
if TYPE_CHECKING:
    Stage = str
else:
    Stage = Literal[*stages()]
Split = Literal["train", "eval"]


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """What is tuned: a hub id, a model folder, an adapter folder or a run; `config` alone means random weights.

    `added_tokens`: the tokenizer learns them, the model gets rows for them, and these train beside the method.
    """

    path: Text | None = None
    adapter: Text | None = None
    config: Text | dict[str, Any] | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: Text = "none"
    double_quantization: bool = True
    added_tokens: tuple[Text, ...] = ()
    trust_remote_code: bool = False

    @property
    def base(self) -> str | None:
        """The model that training begins from; None for random weights, whose `path` is the tokenizer's."""
        return self.path if self.config is None else None


@dataclass(frozen=True, kw_only=True)
class DataSection:
    """What it learns from, and how rows become tokens."""

    train: Sources = field(default=None, metadata={"reader": read_sources, "writer": plain_sources})
    eval: Sources = field(default=None, metadata={"reader": read_sources, "writer": plain_sources})
    eval_split: Share = 0.05
    format: str = "auto"
    columns: dict[str, str] = field(default_factory=dict)
    template: str = "auto"
    supervise: Literal["all", "last"] = "all"
    reasoning: Literal["keep", "drop_history", "none"] = "keep"
    max_length: PositiveInt | Auto = "auto"
    overlong: Literal["auto", "skip", "truncate_prompt", "truncate", "error"] = "auto"
    limit: PositiveInt | None = None
    eval_limit: PositiveInt | None = None
    on_bad_row: Literal["error", "skip"] = "error"

    def sources(self, split: Split) -> tuple[Source, ...]:
        """The places of a split, each with its own or the section's format and columns; none for rows from Python."""
        value = self.train if split == "train" else self.eval
        if value is None or isinstance(value, list):
            return ()
        listed = (Source(path=value),) if isinstance(value, str) else value
        return tuple(
            replace(source, format=source.format or self.format, columns=source.columns or self.columns)
            for source in listed
        )

    def rows(self, split: Split) -> Rows | None:
        """The rows that Python handed over for a split."""
        value = self.train if split == "train" else self.eval
        return value if isinstance(value, list) else None


@dataclass(frozen=True, kw_only=True)
class TrainingSection:
    """How it learns. `batch_size` counts examples per optimizer step, over all devices and before packing."""

    epochs: PositiveInt = 1
    max_steps: PositiveInt | None = None
    batch_size: PositiveInt = 32
    micro_batch_size: PositiveInt | Auto = "auto"
    learning_rate: PositiveFloat | Auto = "auto"
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_steps: NonNegativeInt | Auto = "auto"
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat | None = 1.0
    optimizer: dict[str, Any] = field(default_factory=lambda: {"name": "adamw"})
    packing: bool | Auto = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    gradient_checkpointing: bool = False
    checkpoint_every: PositiveInt = 100
    keep_checkpoints: PositiveInt = 2
    threads: Threads | Auto = "auto"
    seed: NonNegativeInt = 0
    trackers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EvaluationSection:
    """How it is judged while it learns."""

    every: PositiveInt = 100
    metrics: tuple[str, ...] = ()
    generate: NonNegativeInt = 0
    samples: NonNegativeInt = 4
    max_new_tokens: PositiveInt = 128
    best: str = "eval_loss"
    patience: PositiveInt | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every setting of one run. `origins` tells by dotted name where each value came from."""

    stage: Stage = "sft"
    model: ModelSection = field(default_factory=ModelSection)
    data: DataSection = field(default_factory=DataSection)
    method: dict[str, Any] = field(default_factory=dict)
    training: TrainingSection = field(default_factory=TrainingSection)
    evaluation: EvaluationSection = field(default_factory=EvaluationSection)
    algorithm: dict[str, Any] = field(default_factory=dict)
    rollout: dict[str, Any] = field(default_factory=dict)
    reward: Any = None
    output: Text | None = None
    origins: dict[str, str] = field(default_factory=dict, compare=False, repr=False, metadata={"setting": False})

    @staticmethod
    def build(values: dict[str, Any], origins: dict[str, str]) -> "Recipe":
        """Read merged mappings; a run that names no method gets LoRA, and pretraining trains every parameter."""
        for section in ("method", "algorithm", "rollout"):
            if values.get(section) is None:
                values.pop(section, None)
        method = values.setdefault("method", {})
        if isinstance(method, dict) and "name" not in method:
            values["method"] = {"name": "full" if values.get("stage") == "pretrain" else "lora", **method}
            origins = {**origins, "method.name": "default"}
        recipe = read(Recipe, values, origins=origins)
        given = {name for name, _ in leaves(values)}
        for name, _ in leaves(mapping(recipe)):
            recipe.origins[name] = (origin_of(name, origins) or PYTHON) if name in given else "default"
        recipe.origins.update({name: origin for name, origin in origins.items() if "[" in name})
        return recipe

    def with_value(self, name: str, value: object, origin: str) -> "Recipe":
        """The recipe with one setting decided: `with_value("data.max_length", 512, "auto: the model's positions")`."""
        values, origins = mapping(self), dict(self.origins)
        put(values, origins, name.split("."), value, origin)
        return Recipe.build(values, origins)

    def with_settings(self, section: str, settings: Mapping[str, Any], origin: str = "default") -> "Recipe":
        """The recipe with what a mapping section did not set itself: the other fields of its method, say."""
        values, origins = mapping(self), dict(self.origins)
        known: Any = self
        for part in section.split("."):
            known = known[part] if isinstance(known, dict) else getattr(known, part)
        for key, value in settings.items():
            if key not in known:
                put(values, origins, [*section.split("."), key], as_plain(value), origin)
        return Recipe.build(values, origins)

    def origin(self, name: str) -> str:
        """Where a setting came from: `default`, `recipe.yaml:12`, `command line`, `python` or `auto: why`."""
        return origin_of(name, self.origins) or "default"

    def require(self, name: str, way_out: str) -> None:
        """Refuse a recipe that leaves a needed setting open: `require("model.path", "name one with --model")`."""
        value: Any = self
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else getattr(value, part)
        if value is None:
            raise Refusal(f"{name}: missing; {way_out}")

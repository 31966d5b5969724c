"""LoRA's settings, the number format of the base, and full fine-tuning."""

import math
from typing import Any

from accorda.recipe.migrate.draft import Draft
from accorda.recipe.migrate.rules import Rule, each, missing

PEFT_DEFAULT = ["attention.query", "attention.value"]
TABLE: dict[str, Rule] = {
    **each(
        "lora_modules_to_save additional_target",
        missing("no module is trained whole beside an adapter in this version"),
    ),
    **each(
        "lora_target_parameters peft_layers_to_transform peft_layers_pattern",
        missing("targets are modules, in every layer"),
    ),
    **each("loraplus_lr_ratio", missing("LoRA+ is not built yet: both factors learn at one rate")),
    **each("use_dora peft_use_dora", missing("DoRA is not built yet; LoRA is written")),
    **each("pissa_init peft_init_lora_weights", missing("A starts random and B zero; see method.init")),
    **each("pissa_iter pissa_convert loraplus_lr_embedding", missing("of a variant that is not built yet")),
}


def lora(
    draft: Draft, *, rank: str, alpha: str, dropout: str, rslora: str, targets: Any, target_keys: list[str]
) -> None:
    """LoRA with the tool's key names; `targets` are its target modules, None for PEFT's own choice."""
    draft.put("method.name", "lora", why="a LoRA adapter")
    number = int(draft.number(rank))
    draft.put("method.rank", number, rank)
    strength = draft.number(alpha) if draft.value(alpha) is not None else 2 * number
    if draft.on(rslora):
        says = f"rsLoRA scales by alpha / sqrt(rank); the same scale as LoRA's alpha: {strength:g} x sqrt({number})"
        draft.put("method.alpha", strength * math.sqrt(number), alpha, rslora, says=says)
    else:
        draft.put("method.alpha", float(strength), alpha)
        draft.claim(rslora, kind="dropped", says="off")
    draft.put("method.dropout", float(draft.number(dropout)), dropout)
    if targets is None:
        says = "PEFT's own choice depends on the architecture: query and value of attention for most"
        draft.put("method.target_modules", PEFT_DEFAULT, *target_keys, why=says)
    else:
        draft.put("method.target_modules", targets, *target_keys)


def full(draft: Draft, *keys: str) -> None:
    """Every parameter trains."""
    draft.put("method.name", "full", *keys, why="" if keys else "no adapter")


def quantization(draft: Draft, bits: int | None, *keys: str) -> None:
    """The base in 8 or 4 bits, where this version has the format."""
    if bits is None:
        return draft.claim(*keys, kind="dropped", says="off")
    name = {8: "int8", 4: "nf4"}.get(bits, f"{bits} bits")
    if name not in draft.known.quantization:
        has = ", ".join(sorted(draft.known.quantization))
        says = f"no {bits}-bit base in this version (there is {has}): it stays as stored and takes more memory"
        return draft.put("model.quantization", "none", *keys, says=says, kind="no counterpart")
    says = "weights only, row by row, without bitsandbytes' outlier columns" if name == "int8" else ""
    return draft.put("model.quantization", name, *keys, says=says)

"""LoRA's settings and its variants, the number format of the base, and full fine-tuning."""

import math
from typing import Any

from accorda.recipe.migrate.draft import Draft
from accorda.recipe.migrate.rules import Rule, each, internal, missing

PEFT_DEFAULT = ["attention.query", "attention.value"]
STARTS = {"true": "kaiming", "gaussian": "gaussian"}  # what PEFT's init_lora_weights says, as `method.init`
VARIANTS = {  # a method, and the switches that ask for it; of several the first is written
    "dora": ("use_dora", "peft_use_dora"),
    "pissa": ("pissa_init",),
    "lora_plus": ("loraplus_lr_ratio",),
    "rslora": ("use_rslora", "peft_use_rslora"),
}
TABLE: dict[str, Rule] = {
    **each(
        "lora_modules_to_save additional_target",
        missing("no module is trained whole beside an adapter in this version"),
    ),
    **each(
        "lora_target_parameters peft_layers_to_transform peft_layers_pattern",
        missing("targets are modules, in every layer"),
    ),
    **each("pissa_iter", internal("of pissa_init")),
    **each("pissa_convert", internal("an adapter of PiSSA is always saved as an ordinary LoRA too")),
    **each("loraplus_lr_embedding", internal("of embeddings in LoRA's targets; new tokens train at the run's rate")),
}


def lora(draft: Draft, *, rank: str, alpha: str, dropout: str, targets: Any, target_keys: list[str]) -> None:
    """LoRA or a variant with the tool's key names; `targets` are its target modules, None for PEFT's own choice."""
    name = variant(draft)
    number = int(draft.number(rank))
    draft.put("method.rank", number, rank)
    strength = float(draft.number(alpha) if draft.value(alpha) is not None else 2 * number)
    rooted = [key for key in VARIANTS["rslora"] if draft.on(key)] if name != "rslora" else []
    if rooted:
        says = f"rsLoRA scales by alpha / sqrt(rank); the same scale as {name}'s alpha: {strength:g} x sqrt({number})"
        draft.put("method.alpha", strength * math.sqrt(number), alpha, *rooted, says=says)
    else:
        draft.put("method.alpha", strength, alpha)
    if name == "pissa":
        pissa(draft, dropout)
    else:
        draft.put("method.dropout", float(draft.number(dropout)), dropout)
        start(draft)
    if targets is None:
        says = "PEFT's own choice depends on the architecture: query and value of attention for most"
        draft.put("method.target_modules", PEFT_DEFAULT, *target_keys, why=says)
    else:
        draft.put("method.target_modules", targets, *target_keys)


def variant(draft: Draft) -> str:
    """The method's name, put; switches of other variants are told, except rsLoRA's, which alpha can say."""
    asked = {name: [key for key in keys if draft.on(key)] for name, keys in VARIANTS.items()}
    if pissa_of(draft) is not None:
        asked["pissa"].append("peft_init_lora_weights")
    names = [name for name, keys in asked.items() if keys]
    taken = names[0] if names else "lora"
    draft.put("method.name", taken, *asked.get(taken, ()), why="" if names else "a LoRA adapter")
    if taken == "lora_plus":
        draft.put("method.ratio", float(draft.number("loraplus_lr_ratio")), "loraplus_lr_ratio")
    for name in names[1:]:
        if name != "rslora":
            draft.claim(*asked[name], kind="no counterpart", says=f"not together with {taken}, which is written")
    draft.claim(*(key for keys in VARIANTS.values() for key in keys), kind="dropped", says="off")
    return taken


def pissa(draft: Draft, dropout: str) -> None:
    """What PiSSA has in LoRA's place: no dropout, and how its start is computed."""
    if draft.on(dropout):
        draft.tell("no counterpart", dropout, "PiSSA has no dropout here")
    draft.claim(dropout, kind="dropped", says="off")
    iterations = pissa_of(draft)
    if iterations is not None:
        draft.put("method.iterations", iterations or None, "pissa_iter", "peft_init_lora_weights")


def pissa_of(draft: Draft) -> int | None:
    """The iterations of a PiSSA start, 0 for the exact decomposition; None where PiSSA is not asked for."""
    if draft.on("pissa_init"):
        return max(0, int(draft.number("pissa_iter"))) if draft.has("pissa_iter") else 16
    name = str(draft.value("peft_init_lora_weights") or "")
    if name == "pissa":
        return 0
    head, _, tail = name.partition("pissa_niter_")
    return int(tail) if not head and tail.isdigit() else None


def start(draft: Draft) -> None:
    """How A starts, by PEFT's name for it; other starts are told."""
    key = "peft_init_lora_weights"
    name = str(draft.value(key)).lower()
    if name in STARTS:
        draft.put("method.init", STARTS[name], key)
    elif draft.has(key) and key not in draft.notes:
        draft.tell("no counterpart", key, "A starts by method.init, kaiming or gaussian; kaiming is written")
    draft.claim(key, kind="dropped", says="not set")


def full(draft: Draft, *keys: str) -> None:
    """Every parameter trains."""
    draft.put("method.name", "full", *keys, why="" if keys else "no adapter")
    draft.claim(*(key for names in VARIANTS.values() for key in names), kind="dropped", says="of an adapter")


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


def added_tokens(draft: Draft, *keys: str) -> None:
    """Tokens that the tokenizer learns; the rows they get train beside the method."""
    used = [key for key in keys if draft.on(key)]
    found = [token for key in used for token in draft.listed(key)]
    if found:
        says = "the model gets rows for them, which train beside the method and travel in its folder"
        draft.put("model.added_tokens", found, *used, says=says)
    draft.claim(*keys, kind="dropped", says="not set")

"""Show a model: roles, shapes, fused parts, tied head, tokens, template, what a method would touch."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.parser import add_trust, filled
from accorda.cli.terminal.table import cell, table

ROLES = ("role", "count", "in", "out", "module")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, and methods to try on it."""
    parser.add_argument("model", metavar="MODEL", help="hub id, model folder, adapter folder or run")
    parser.add_argument(
        "--method", metavar="N", type=filled, default="lora", help="what it would touch (default: lora)"
    )
    parser.add_argument(
        "--target", metavar="T", type=filled, action="append", help="its target_modules, instead of the default"
    )
    add_trust(parser)


def run(arguments: argparse.Namespace) -> Outcome:
    """Everything that can be told without reading a weight."""
    from accorda.methods.open import head_of, locate
    from accorda.models.configuration import head_for
    from accorda.models.load import load_model, load_tokenizer

    place = locate(arguments.model)
    head = head_of(arguments.model) or head_for(place.base)
    model = load_model(place.base, head=head, device="meta", trust_remote_code=arguments.trust_remote_code)
    tokenizer = load_tokenizer(place.base, arguments.trust_remote_code)
    found = {
        "model": arguments.model,
        **architecture(model),
        "roles": roles(model),
        "tokens": tokens(tokenizer, model),
        "method": touched(model, arguments.method, arguments.target),
    }
    return Outcome(result=found, text=told(found))


def architecture(model: Any) -> dict[str, Any]:
    """Class, sizes, attention, tied head."""
    from accorda.models.attention import use_attention
    from accorda.models.roles import blocks

    config = model.config.get_text_config(decoder=True)
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    return {
        "class": type(model).__name__,
        "model_type": model.config.model_type,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dtype": str(model.dtype).removeprefix("torch."),
        "blocks": len(blocks(model)),
        "width": embedding.weight.shape[1],
        "vocabulary": embedding.weight.shape[0],
        "context": getattr(config, "max_position_embeddings", None),
        "tied_head": head is not None and head.weight is embedding.weight,
        "attention": use_attention(model) or "accorda: rows are packed",
    }


def roles(model: Any) -> list[dict[str, Any]]:
    """Every role with how often it occurs, its shape and its module; a part of a fused projection says so."""
    from accorda.models.roles import sites

    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for site in sites(model):
        key = (site.stack, site.role, site.leaf, site.in_features, site.out_features)
        module = site.leaf if site.rows is None else f"{site.leaf} (rows {ranges(site.rows.tolist())})"
        first = {
            "role": f"{site.stack}.{site.role}" if site.stack else site.role,
            "count": 0,
            "in_features": site.in_features,
            "out_features": site.out_features,
            "module": module,
            "fused_part": site.rows is not None,
        }
        found.setdefault(key, first)["count"] += 1
    return list(found.values())


def ranges(rows: Sequence[int], most: int = 3) -> str:
    """Row numbers as ranges: `0-31, 96-127, ...`."""
    parts: list[list[int]] = []
    for row in rows:
        if parts and row == parts[-1][1] + 1:
            parts[-1][1] = row
        else:
            parts.append([row, row])
    shown = [f"{first}-{last}" for first, last in parts[:most]]
    return ", ".join(shown + (["..."] if len(parts) > most else []))


def tokens(tokenizer: Any, model: Any) -> dict[str, Any]:
    """Special tokens, and what conversations are rendered by and end with."""
    from accorda.data.renderer import Renderer
    from accorda.errors import Refusal
    from accorda.models.decoder_start import decoder_start

    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    found: dict[str, Any] = {name: getattr(tokenizer, name, None) for name in names}
    try:
        start = decoder_start(model)
        renderer = Renderer(tokenizer, decoder_start=start)
        stops = [tokenizer.convert_ids_to_tokens(number) for number in renderer.stop_ids]
        begins = {} if start is None else {"decoder_start": tokenizer.convert_ids_to_tokens(start)}
        return found | {"template": renderer.template_name, "stop": stops} | begins
    except Refusal as refusal:
        return found | {"template": f"unusable: {refusal}", "stop": []}


def touched(model: Any, name: str, targets: list[str] | None) -> dict[str, Any]:
    """What a method would train on this model, or why it cannot."""
    import dataclasses

    from accorda.errors import Refusal
    from accorda.methods.contract import ModuleMethod
    from accorda.methods.registry import read

    method = read({"name": name, **({"target_modules": targets} if targets else {})})
    try:
        counts = dataclasses.asdict(method.num_parameters(model))
        where = [site.name for site in method.sites(model)] if isinstance(method, ModuleMethod) else []
    except Refusal as refusal:
        return {"name": name, "refused": str(refusal)}
    return {"name": name, "parameters": counts, "modules": where}


def told(found: Mapping[str, Any]) -> str:
    """All of it for people."""
    facts = [(name, found[name]) for name in found if name not in ("roles", "tokens", "method")]
    facts += [(name, ", ".join(value) if isinstance(value, list) else value) for name, value in found["tokens"].items()]
    width = max(len(name) for name, _ in facts)
    lines = [f"{name:<{width}}  {cell(value)}" for name, value in facts]
    rows = [tuple(row.values())[:5] for row in found["roles"]]
    return "\n".join(lines) + f"\n\n{table(ROLES, rows)}\n\n{method_line(found['method'], found['parameters'])}"


def method_line(method: Mapping[str, Any], total: int) -> str:
    """One line about the method."""
    if "refused" in method:
        return f"{method['name']} cannot: {method['refused']}"
    trained, modules = method["parameters"]["trained"], len(set(method["modules"]))
    where = f" in {modules} modules" if modules else ""
    return f"{method['name']} would train {trained:,} parameters ({trained / total:.2%} of the model){where}"

"""Write a model with its linears in a number format, as a folder that loads without the original.

Weights are read one by one, so that the dense model never stands in memory. The layout is bitsandbytes': transformers
loads the folder too, where bitsandbytes is installed. An adapter of the dense model in this format fits the folder.
"""

import argparse
from pathlib import Path
from typing import Any

from accorda.cli.terminal.new_file import new_folder
from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.parser import add_trust, filled
from accorda.cli.terminal.sampling import add_double_quantization
from accorda.errors import Refusal
from accorda.recipe.number_formats import number_formats, require_format

FORMAT = "nf4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to quantize, how, and where to."""
    parser.add_argument("model", metavar="MODEL", help="hub id, model folder, or a run that trained a whole model")
    parser.add_argument(
        "--format", metavar="Q", type=filled, default=FORMAT, help=f"{', '.join(number_formats())}; default {FORMAT}"
    )
    parser.add_argument("--output", metavar="DIR", type=filled, help="a new folder; default: MODEL-FORMAT, here")
    parser.add_argument(
        "--dtype",
        metavar="T",
        type=filled,
        default="auto",
        help="of what stays dense: auto, float32, bfloat16, float16",
    )
    add_double_quantization(parser)
    add_trust(parser)


def run(arguments: argparse.Namespace) -> Outcome:
    """Read, quantize, save."""
    require_format(arguments.format, "--format")
    double = arguments.double_quantization
    name = Path(str(arguments.model)).name
    output = new_folder(arguments.output or f"{name}-{arguments.format}")
    from accorda.cli.terminal.opening import ready
    from accorda.methods.locate import locate
    from accorda.methods.storage import save_model
    from accorda.quantization import number_format

    number_format(arguments.format, double_quantization=double)
    place = locate(arguments.model)
    if place.adapter is not None:
        raise Refusal(f"MODEL = {arguments.model}: has an adapter, which stays apart; accorda merge folds it in first")
    check_dense(place.base, arguments.trust_remote_code)
    opened = ready(
        arguments.model,
        quantization=arguments.format,
        double_quantization=double,
        dtype=arguments.dtype,
        trust_remote_code=arguments.trust_remote_code,
    )
    sizes = counted(opened.model)
    save_model(opened.model, opened.tokenizer, output, renderer=opened.renderer)
    found = {"status": "quantized", "output": str(output), "format": arguments.format, "double_quantization": double}
    return Outcome(result=found | sizes, text=told(found | sizes))


def check_dense(base: str, code: bool) -> None:
    """Refuse a model whose weights lie in a number format already."""
    from accorda.models.folder import model_folder, read_config, stored_format

    stored = stored_format(read_config(model_folder(base, code=code, weights=False)))
    if stored is not None:
        raise Refusal(f"MODEL = {base}: its weights are in {stored.name} already; name the dense model")


def counted(model: Any) -> dict[str, Any]:
    """Numbers and bytes of what is packed, and bytes of the rest."""
    from accorda.models.packed import packed_linears

    packed = list(packed_linears(model).values())
    numbers = sum(module.in_features * module.out_features for module in packed)
    inside = sum(module.quantized_weight.num_bytes for module in packed)
    total = sum(parameter.nbytes for parameter in model.parameters())
    return {
        "linears": len(packed),
        "packed_numbers": numbers,
        "bits_per_number": 8 * inside / max(1, numbers),
        "bytes": total,
        "dense_bytes": total - inside + numbers * model.dtype.itemsize,
    }


def told(found: dict[str, Any]) -> str:
    """For people."""
    sizes = f"{found['bytes'] / 1e6:.1f} MB, dense {found['dense_bytes'] / 1e6:.1f} MB"
    share = f"{found['linears']} linears at {found['bits_per_number']:.3f} bits a number"
    return f"wrote {found['output']}: {share}; {sizes}"

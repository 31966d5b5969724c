"""Fold an adapter into its base, prove that it says the same, save what plain transformers loads.

The proof compares log-probabilities with the adapter and with the merged weights, module by module: on rows of --data,
else on the run's own evaluation rows, else on a few texts. An adapter of a base in a number format can go into the
original dense weights, into the dequantized ones that it was trained on, or into those quantized again; each is
measured against the live adapter, the nearest is taken, and merge.json keeps the figures.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from accorda.cli.terminal.new_file import new_folder
from accorda.cli.terminal.opening import Ready, ready
from accorda.cli.terminal.outcome import DONE, UNPROVEN, Outcome
from accorda.cli.terminal.parser import add_trust, filled, one_of
from accorda.cli.terminal.table import table
from accorda.errors import Refusal

RECEIPT, ERRORS = "merge.json", "quantization_errors.svg"
TEXTS = (
    "The quick brown fox jumps over the lazy dog, and the dog does not mind.",
    "In 1905 he wrote four papers; each of them changed what people thought of light, of time and of matter.",
    "Question: how much is 12 times 12? Answer: 12 times 12 is 144.",
    "def add(a, b):\n    return a + b\n",
)
NUM_ROWS = 128
ROUNDING = 1e-7  # nats per token: what is less is how fp32 rounds log-probabilities, and no divergence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to merge, and where to."""
    parser.add_argument("run", metavar="RUN", help="a run or an adapter folder")
    parser.add_argument("--output", metavar="DIR", type=filled, help="a new folder; default: RUN-merged")
    parser.add_argument("--data", metavar="F", type=filled, help="rows to compare log-probabilities on")
    parser.add_argument(
        "--into",
        metavar="WAY",
        type=one_of("auto", "original", "dequantized", "requantized"),
        default="auto",
        help="original, dequantized or requantized; default: what diverges least",
    )
    parser.add_argument(
        "--most-kl",
        metavar="X",
        type=float,
        default=0.1,
        help="refuse a merged model further away from the adapter, in nats per token (0.1)",
    )
    add_trust(parser)


def run(arguments: argparse.Namespace) -> Outcome:
    """Measure, merge, save; exit 1 where the merged model says something else."""
    output = new_folder(arguments.output or f"{str(arguments.run).rstrip('/')}-merged")
    from accorda.methods.storage import save_model
    from accorda.runs.error_picture import draw
    from accorda.runs.files import write_json
    from accorda.stages.merge import merged

    recipe = recipe_of(arguments.run)
    quantization = recipe.model.quantization if recipe is not None else "none"
    double = recipe.model.double_quantization if recipe is not None else True
    packing = {"quantization": quantization, "double_quantization": double}

    def opened(packed: bool) -> Ready:
        loading = packing if packed else {}
        with nullcontext() if packed else unremarked():
            return ready(arguments.run, trust_remote_code=arguments.trust_remote_code, **loading)

    first = opened(True)
    if first.adapter is None:
        raise Refusal(f"RUN = {arguments.run}: has no adapter, so there is nothing to merge")
    waiting = [first]  # what stands in memory already serves the first time it is asked for

    def opening(packed: bool) -> Any:
        return (waiting.pop() if packed and waiting else opened(packed)).model

    tokenizer, renderer, name = first.tokenizer, first.renderer, first.adapter
    rows = segments(first, recipe, arguments.data)
    del first
    model, made = merged(opening, name, arguments.into, rows, arguments.most_kl)
    save_model(model, tokenizer, output, renderer=renderer)
    receipt = {"merged": str(arguments.run), "quantization": quantization, **made.to_dict()}
    if made.errors:
        draw(made.errors, output / ERRORS)
    write_json(output / RECEIPT, receipt)
    failed = made.proof.verdict == "fails"
    return Outcome(
        code=UNPROVEN if failed else DONE,
        result={"status": "unproven" if failed else "merged", "output": str(output), **receipt},
        text=told(receipt, output),
        error=f"the proof of merge fails: {made.proof.reason}" if failed else "",
    )


@contextmanager
def unremarked() -> Iterator[None]:
    """Inside, a base in another number format than the adapter's is no matter for a warning: it is measured."""
    from accorda.methods.storage.base import logger

    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


def told(receipt: dict[str, Any], output: Path) -> str:
    """For people: where it is, the ways with their figures, the proof."""
    proof, way = receipt["proof"], receipt["into"]
    told_of = "merge" if receipt["quantization"] == "none" or way == "dequantized" else f"merge, before it goes {way}"
    lines = [f"merged into {output}", f"{told_of} {proof['verdict']}: {proof['reason']}"]
    if receipt["quantization"] != "none" and receipt["measured"]:
        rows = [
            (
                f"{way} (taken)" if way == receipt["into"] else way,
                f"{found['kl']:.2e}" if found["kl"] >= ROUNDING else f"below {ROUNDING:.0e}",
                f"{found['top1']:.2%}",
                f"{found['loss']:.4f}",
            )
            for way, found in receipt["measured"].items()
        ]
        heading = ("merged into", "KL, nats", "same first choice", f"loss (adapter {receipt['adapter_loss']:.4f})")
        lines += ["", f"against the live adapter at {receipt['positions']:,} tokens:", table(heading, rows)]
    lines += [f"not {way}: {why}" for way, why in receipt["refused"].items()]
    if receipt["quantization_errors"]:
        worst = max(receipt["quantization_errors"], key=receipt["quantization_errors"].get)
        share = receipt["quantization_errors"][worst]
        lines.append(f"quantized again, {worst} moves most: {share:.1%} of its norm; all of them in {output / ERRORS}")
    return "\n".join(lines)


def recipe_of(name: str) -> Any:
    """The recipe of a run; None for an adapter folder."""
    from accorda.recipe.load import load
    from accorda.runs.layout import RunFolder

    folder = RunFolder(Path(name))
    return load(folder.recipe) if folder.is_run() else None


def segments(opened: Ready, recipe: Any, data: str | None) -> list[Any]:
    """Rows with labels to compare on, those that fit the model."""
    from accorda.evaluation.rows import dataset_of

    if data is not None:
        rows = dataset_of(data, opened.model, opened.renderer, limit=NUM_ROWS)
    elif recipe is not None:
        stage = recipe.stage if recipe.stage in ("pretrain", "classify") else "sft"
        rows = dataset_of(recipe.data, opened.model, opened.renderer, stage=stage, seed=recipe.training.seed)
    else:
        label = {"label": (opened.renderer.labels.names or (0.5,))[0]} if opened.renderer.kind == "labelled" else {}
        texts = [{"text": text, **label} for text in TEXTS]
        rows = dataset_of(texts, opened.model, opened.renderer)
    return [rows[index] for index in range(min(len(rows), NUM_ROWS))]

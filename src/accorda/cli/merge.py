"""Fold an adapter into its base, prove that it says the same, save what plain transformers loads.

The proof compares log-probabilities with the adapter and with the merged weights, module by module: on rows of --data,
else on the run's own evaluation rows, else on a few texts. An adapter trained on a base in a number format is merged
into that base's dense values, which are what it was trained on.
"""

import argparse
from pathlib import Path
from typing import Any

from accorda.cli.terminal.opening import Ready, ready
from accorda.cli.terminal.outcome import DONE, UNPROVEN, Outcome
from accorda.cli.terminal.parser import filled
from accorda.errors import Refusal

RECEIPT = "merge.json"
TEXTS = (
    "The quick brown fox jumps over the lazy dog, and the dog does not mind.",
    "In 1905 he wrote four papers; each of them changed what people thought of light, of time and of matter.",
    "Question: how much is 12 times 12? Answer: 12 times 12 is 144.",
    "def add(a, b):\n    return a + b\n",
)
NUM_ROWS = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to merge, and where to."""
    parser.add_argument("run", metavar="RUN", help="a run or an adapter folder")
    parser.add_argument("--output", metavar="DIR", type=filled, help="a new folder; default: RUN-merged")
    parser.add_argument("--data", metavar="F", type=filled, help="rows to compare log-probabilities on")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")


def run(arguments: argparse.Namespace) -> Outcome:
    """Prove, merge, save; exit 1 where the merged model says something else."""
    from accorda.methods.merging import check_mergeable, merge
    from accorda.methods.storage import save_model
    from accorda.proofs.merge import merged_alike
    from accorda.runs.files import write_json

    output = Path(arguments.output or f"{str(arguments.run).rstrip('/')}-merged")
    if output.exists():
        raise Refusal(f"--output {output}: exists already; choose a new folder")
    recipe = recipe_of(arguments.run)
    quantization = recipe.model.quantization if recipe is not None else "none"
    opened = ready(arguments.run, quantization=quantization, trust_remote_code=arguments.trust_remote_code)
    if opened.adapter is None:
        raise Refusal(f"RUN = {arguments.run}: has no adapter, so there is nothing to merge")
    check_mergeable(opened.model, opened.adapter)
    proof = merged_alike(opened.model, segments(opened, recipe, arguments.data), opened.adapter)
    merge(opened.model, opened.adapter)
    make_dense(opened.model)
    save_model(opened.model, opened.tokenizer, output, renderer=opened.renderer)
    receipt = {"merged": str(arguments.run), "quantization": quantization, "proof": proof.to_dict()}
    write_json(output / RECEIPT, receipt)
    failed = proof.verdict == "fails"
    return Outcome(
        code=UNPROVEN if failed else DONE,
        result={"status": "unproven" if failed else "merged", "output": str(output), **receipt},
        text=f"merged into {output}\nmerge {proof.verdict}: {proof.reason}",
        error=f"the proof of merge fails: {proof.reason}" if failed else "",
    )


def recipe_of(name: str) -> Any:
    """The recipe of a run; None for an adapter folder."""
    from accorda.recipe.load import load
    from accorda.runs.layout import RunFolder

    folder = RunFolder(Path(name))
    return load(folder.recipe) if folder.is_run() else None


def segments(opened: Ready, recipe: Any, data: str | None) -> list[Any]:
    """Rows with labels to compare on, those that fit the model."""
    from accorda.evaluation.rows import dataset_of
    from accorda.proofs.numerics import few_rows

    if data is not None:
        rows = dataset_of(data, opened.model, opened.renderer, limit=NUM_ROWS)
    elif recipe is not None:
        stage = recipe.stage if recipe.stage in ("pretrain", "classify") else "sft"
        rows = dataset_of(recipe.data, opened.model, opened.renderer, stage=stage, seed=recipe.training.seed)
    else:
        label = {"label": (opened.renderer.labels.names or (0.5,))[0]} if opened.renderer.kind == "labelled" else {}
        texts = [{"text": text, **label} for text in TEXTS]
        rows = dataset_of(texts, opened.model, opened.renderer)
    return few_rows([rows[index] for index in range(min(len(rows), NUM_ROWS))])


def make_dense(model: Any) -> None:
    """What is still in a number format becomes a plain layer with the same values."""
    from accorda.quantization import QuantizedLinear

    for name, module in list(model.named_modules()):
        if isinstance(module, QuantizedLinear):
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, module.dense(model.dtype))

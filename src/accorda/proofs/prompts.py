"""The proof of the mask where a policy answers prompts: are they fed as they stand, and nothing of them learned?"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from accorda.data.batch import IGNORE_INDEX, Batch
from accorda.data.preferences.batch import PreferenceBatch
from accorda.data.prompts.dataset import PromptDataset
from accorda.data.prompts.experience import Experience
from accorda.data.renderer import Renderer
from accorda.data.sampler import Batches
from accorda.proofs.contract import Check, Proof, check, names
from accorda.proofs.plain import rows_in
from accorda.proofs.rows import carried, evenly
from accorda.proofs.source import absent_from_source
from accorda.recipe.sections import DataSection

READ = 48  # rows rendered again and looked up in their source


def prompted(dataset: PromptDataset, renderer: Renderer, section: DataSection, batches: Batches) -> Proof:
    """The proof on prepared prompts; preflight asks before a run folder exists."""
    sample = evenly(len(dataset), READ)
    absent = absent_from_source(section, dataset, sample)
    learned = [place(dataset, row) for row in evenly(len(dataset), 20_000) if dataset[row].supervised.any()]
    checks = [
        check("nothing learned", not learned, "no token of a prompt is learned", f"learned: {names(learned, 3)}"),
        _rendered(dataset, renderer, sample),
        check("source", not absent, "every prompt stands in its source at its line", names(absent, 2)),
        _overlong(dataset),
        carried(batches.at(0), partial(_right, dataset), "answers behind their prompts, and the answers alone"),
    ]
    report = dataset.report
    evidence = {"rows": report.rows, "lengths": report.lengths, "overlong_rows": report.overlong_rows}
    holds = f"{len(dataset)} prompts are fed as they stand and not learned; {checks[3].reason}"
    return Proof.of_checks("mask", checks, holds, read=len(sample), **evidence)


def place(dataset: PromptDataset, row: int) -> str:
    """File and line of a row."""
    segment = dataset[row]
    return f"{segment.file}:{segment.line}"


def _rendered(dataset: PromptDataset, renderer: Renderer, sample: Sequence[int]) -> Check:
    """What is fed is what `generate` feeds for the same prompt."""
    wrong = [place(dataset, row) for row in sample if renderer.prompt_ids(dataset.example(row)) != _ids(dataset, row)]
    reason = f"the ids of {len(sample)} prompts are what generate feeds for them"
    return check("rendered", not wrong, reason, f"the stored tokens are other ones in {names(wrong, 3)}: a stale store")


def _ids(dataset: PromptDataset, row: int) -> list[int]:
    return dataset[row].input_ids.tolist()


def _overlong(dataset: PromptDataset) -> Check:
    report, rows = dataset.report, dataset.report.rows
    lost = rows["overlong"]
    told = f"{lost} prompts over {report.max_length} tokens left out" if lost else "no prompt was too long"
    adds_up = rows["seen"] == rows["kept"] + rows["skipped"] + lost and dataset.lengths.max() <= report.max_length
    return check("over-length", bool(adds_up), told, f"the counts do not add up: {rows}")


def _right(dataset: PromptDataset, batch: Batch) -> bool:
    """Every row begins with its prompt, and exactly what follows is learned."""
    if not isinstance(batch, Experience | PreferenceBatch):
        return False
    answers = len(batch.learned) // len(batch.rows)
    asked = [row for row in batch.rows for _ in range(answers)]
    for ids, row, number in zip(rows_in(batch), asked, batch.learned, strict=True):
        prompt = dataset[row].input_ids
        if len(ids) != len(prompt) + number or not np.array_equal(ids[: len(prompt)].cpu().numpy(), prompt):
            return False
    return len(batch.targets()[1]) == int((batch.labels != IGNORE_INDEX).sum()) == sum(batch.learned)

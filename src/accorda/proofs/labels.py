"""The proof of the mask where rows have labels: does each row reach the loss as its source has it, text and label?

Read again without the renderer and the store: labels and texts from the source files, ids from the tokenizer's own
encoding with its own truncation.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from accorda.data.batch import Batch
from accorda.data.example import BadRow
from accorda.data.labelled.batch import LabelledBatch, LabelledSegment
from accorda.data.labelled.columns import choose
from accorda.data.labelled.dataset import LabelledDataset
from accorda.data.labelled.found import value_of
from accorda.data.sampler import Batches
from accorda.data.sources import Origin, origins
from accorda.proofs.contract import Check, Proof, check, names
from accorda.proofs.rows import carried, evenly
from accorda.proofs.source import FURTHEST, absent_from_source
from accorda.recipe.sections import DataSection
from accorda.recipe.words import several

READ = 48  # rows encoded again and looked up in their source


def labelled(dataset: LabelledDataset, section: DataSection, batches: Batches | None = None) -> Proof:
    """The proof on prepared rows; preflight asks before a run folder exists."""
    sample = evenly(len(dataset), READ)
    absent, wrong = absent_from_source(section, dataset, sample), _other_labels(section, dataset, sample)
    checks = [
        _classes(dataset),
        check("labels", not wrong, f"in {len(sample)} rows the label is the one in its source", names(wrong, 2)),
        check("source", not absent, "every text stands in its source at its line", names(absent, 2)),
        _encoded(dataset, sample),
        _overlong(dataset),
    ]
    if batches is not None:
        checks.append(carried(batches.at(0), partial(_right, dataset), "their labels"))
    report = dataset.report
    evidence = {
        "rows": report.rows,
        "lengths": report.lengths,
        "labels": report.labels,
        "supervised_tokens_lost": report.supervised_tokens_lost,
        "overlong_rows": report.overlong_rows,
        "read": len(sample),
    }
    return Proof.of_checks("mask", checks, f"{checks[0].reason}; {checks[4].reason}", **evidence)


def _classes(dataset: LabelledDataset) -> Check:
    """Every row has one of the classes, counted here; or a finite number."""
    values, labels = dataset.values, dataset.renderer.labels
    if labels.is_number:
        finite = bool(np.isfinite(values).all())
        told = f"each of {len(values):,} rows has a number, {values.min():.4g} to {values.max():.4g}"
        return check("labelled", finite, told, "a label is no finite number")
    numbers = np.bincount(values.astype(int), minlength=labels.num_outputs)
    told = ", ".join(f"{name} {number:,}" for name, number in zip(labels.names[:8], numbers, strict=False))
    more = f" and {len(numbers) - 8} more classes" if len(numbers) > 8 else ""
    rare = [name for name, number in zip(labels.names, numbers, strict=True) if not number]
    note = f"; no row to learn {names(rare, 3)} from" if rare else ""
    adds_up = len(numbers) == labels.num_outputs and int(numbers.sum()) == len(dataset)
    reason = f"each of {len(values):,} rows has a label: {told}{more}{note}"
    return check("labelled", adds_up, reason, f"classes beyond the head's {labels.num_outputs}: {numbers.tolist()}")


def _other_labels(section: DataSection, dataset: LabelledDataset, sample: Sequence[int]) -> list[str]:
    """file:line of the sampled rows whose label is not the one that their source holds now."""
    told: dict[tuple[str, int], set[str | float]] = {}
    own = dataset.report.split == "eval" and section.eval is not None
    wanted = {(dataset[row].file, dataset[row].line) for row in sample}
    for origin in origins(section, "eval" if own else "train"):
        for place, label in _labels_at(origin, wanted):
            told.setdefault(place, set()).add(label)
    return [
        f"{segment.file}:{segment.line} is learned as {_name(dataset, segment)!r}, its source says {found}"
        for segment in (dataset[row] for row in sample)
        if (found := told.get((segment.file, segment.line))) is not None and _name(dataset, segment) not in found
    ]


def _labels_at(origin: Origin, wanted: set[tuple[str, int]]) -> Iterator[tuple[tuple[str, int], Any]]:
    columns, last = None, max((line for file, line in wanted if file == origin.shown), default=0)
    for number, (file, line, row) in enumerate(origin.read()):
        if number >= FURTHEST or line > last:
            return
        if isinstance(row, BadRow):
            continue
        columns = columns or choose(row, f"{file}:{line}", name=origin.format, columns=origin.columns)
        if (file, line) in wanted:
            value = row[columns.columns["label"]]
            yield (file, line), _spelled(value)


def _spelled(value: Any) -> str | float:
    """A label as its source has it: a number where it is one, else its text."""
    text = str(value).strip().lower() if isinstance(value, bool) else str(value).strip()
    number = value_of(text)
    return text if number is None else number


def _name(dataset: LabelledDataset, segment: LabelledSegment) -> str | float:
    labels = dataset.renderer.labels
    return segment.label if labels.is_number else _spelled(labels.names[int(segment.label)])


def _encoded(dataset: LabelledDataset, sample: Sequence[int]) -> Check:
    """The ids are the tokenizer's own, special tokens and truncation included."""
    tokenizer, most, other = dataset.renderer.tokenizer, dataset.max_length, list[str]()
    for row in sample:
        example, segment = dataset.example(row), dataset[row]
        text, pair = example.text or "", example.text_pair
        if pair is not None and not dataset.renderer.separates:
            text, pair = f"{text}\n{pair}", None
        encoded = tokenizer(text, pair, truncation="longest_first", max_length=most, padding=False, verbose=False)
        types = encoded.get("token_type_ids")
        ours = (np.arange(len(segment)) >= segment.second).astype(int).tolist()
        if encoded["input_ids"] != segment.input_ids.tolist() or (types is not None and types != ours):
            other.append(f"{segment.file}:{segment.line}")
    reason = f"{len(sample)} rows are encoded as the tokenizer itself does"
    return check("encoded", not other, reason, f"not what the tokenizer makes of {names(other, 3)}")


def _overlong(dataset: LabelledDataset) -> Check:
    """What over-length cost; it only fails where the counts do not add up."""
    report, rows = dataset.report, dataset.report.rows
    told = "no row was too long"
    if rows["overlong"] or rows["truncated"]:
        left_out = several(rows["overlong"], "row")
        told = f"{left_out} over {report.max_length} tokens left out, the end of {rows['truncated']} cut"
    adds_up = rows["seen"] == rows["kept"] + rows["skipped"] + rows["overlong"]
    fits = bool(dataset.lengths.max() <= report.max_length)
    return check("over-length", adds_up and fits, told, f"the counts do not add up: {rows}, {dataset.lengths.max()}")


def _right(dataset: LabelledDataset, batch: Batch) -> bool:
    """Ids, mask and labels of a real batch against the rows."""
    if not isinstance(batch, LabelledBatch) or batch.num_supervised != len(batch.rows) or batch.attention_mask is None:
        return False
    for at, row in enumerate(batch.rows):
        segment = dataset[row]
        shown = batch.input_ids[at][batch.attention_mask[at].bool()].tolist()
        same_label = bool(batch.wanted[at] == torch.tensor(dataset.values[row], dtype=torch.float32))
        if shown != segment.input_ids.tolist() or not same_label:
            return False
    return True

"""What `accorda data check` tells about labelled rows before anything is trained on them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accorda.data.check import in_both, repeats, sources
from accorda.data.labelled.dataset import LabelledDataset
from accorda.data.labelled.found import Kind, found_labels
from accorda.data.labelled.prepare import LabelledPreparation
from accorda.data.labelled.renderer import LabelledRenderer
from accorda.data.order import order
from accorda.data.settings import Settings
from accorda.recipe.sections import DataSection
from accorda.recipe.words import several

SHARE = 0.9  # of one class: accuracy alone then says little
ROWS, LONGEST = 3, 600


def check_labelled(
    files: str | Sequence[Any] | None,
    tokenizer: Any,
    section: DataSection | None = None,
    *,
    max_length: int,
    kind: Kind = "auto",
    store_folder: Path | str | None = None,
) -> dict[str, Any]:
    """A report on data as a run of stage classify would see it; arguments and keys are those of `check`.

    `labels` tells how often each class occurs, or the least, mean and most of a number.

    Raises:
        Refusal: as `found_labels`.
    """
    section = replace(section or DataSection(), **({} if files is None else {"train": sources(files)}))
    renderer = LabelledRenderer(tokenizer, found_labels(section, kind))
    whole = replace(section, eval=None, eval_split=0.0)
    settings = Settings(whole, renderer, max_length, "classify", store_folder=store_folder, strict=False)
    making = LabelledPreparation(settings)
    dataset, table = making.train(), making.table("train")
    assert isinstance(dataset, LabelledDataset)
    again = repeats(table)
    both = 0
    if section.eval is not None:
        both = in_both(table, LabelledPreparation(replace(settings, section=section)).table("eval"))
    return {
        **dataset.report.to_dict(),
        "kind": renderer.kind,
        "duplicates": again,
        "in_both": both,
        "warnings": list(_warnings(dataset, again["rows"], both)),
        "sample": "\n\n".join(_shown(dataset, row) for row in sorted(order(0, 0, len(dataset))[:ROWS].tolist())),
    }


def _warnings(dataset: LabelledDataset, num_repeats: int, both: int) -> Iterator[str]:
    rows, counts = dataset.report.rows, dataset.report.labels or {}
    if rows["skipped"]:
        yield f"{several(rows['skipped'], 'row')} cannot be read"
    if rows["truncated"]:
        yield f"the end of {several(rows['truncated'], 'row')} is cut at {dataset.max_length} tokens"
    if num_repeats:
        yield f"{several(num_repeats, 'row')} repeat{'s' * (num_repeats == 1)} an earlier one"
    if both:
        yield f"{several(both, 'row')} of data.eval {'is' if both == 1 else 'are'} also in data.train"
    if not dataset.renderer.labels.is_number:
        name, number = max(counts.items(), key=lambda item: item[1])
        if number > SHARE * len(dataset):
            yield f"{number / len(dataset):.0%} of the rows are {name}: look at f1_macro or matthews beside accuracy"
    contradicting = _contradicting(dataset)
    if contradicting:
        yield f"{several(contradicting, 'text')} {'has' if contradicting == 1 else 'have'} several labels"


def _contradicting(dataset: LabelledDataset) -> int:
    """Texts that stand there with different labels."""
    seen: dict[tuple[str | None, str | None], set[float]] = {}
    for row in range(len(dataset)):
        example = dataset.example(row)
        seen.setdefault((example.text, example.text_pair), set()).add(float(dataset.values[row]))
    return sum(len(values) > 1 for values in seen.values())


def _shown(dataset: LabelledDataset, row: int) -> str:
    """One row as the model sees it, below its place and label."""
    segment, example = dataset[row], dataset.example(row)
    text = str(dataset.renderer.tokenizer.decode(segment.input_ids.tolist()))
    text = text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} [...] {text[-LONGEST // 2 :]}"
    text = "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)
    return f"{segment.file}:{segment.line}  {len(segment)} tokens, label {example.label}\n{text}"

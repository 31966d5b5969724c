"""What `accorda data check` tells about data before anything is trained on it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from accorda.data.chat import PLAIN
from accorda.data.dataset import DataReport, Dataset
from accorda.data.example import Example
from accorda.data.overlong import QUARTER
from accorda.data.preparation import preparation
from accorda.data.prompts.renderer import PromptRenderer
from accorda.data.renderer import Renderer
from accorda.data.sample import sample
from accorda.data.settings import Settings, Stage
from accorda.data.table import Table
from accorda.recipe.sections import DataSection
from accorda.recipe.sources import Source
from accorda.recipe.words import several

LISTED = 20
READ = 10_000
"""How many rows are read again for what their texts look like."""


def check(
    files: str | Sequence[Any] | None,
    tokenizer: PreTrainedTokenizerBase,
    section: DataSection | None = None,
    *,
    max_length: int,
    stage: Stage = "sft",
    color: bool = False,
    store_folder: Path | str | None = None,
    decoder_start: int | None = None,
) -> dict[str, Any]:
    """A report on data as a run with `section` would see it; nothing is refused but what cannot be read at all.

    `files`: one path, several, or rows; None: what the section names. `decoder_start`: of an encoder-decoder.
    Keys: those of `DataReport.to_dict`, and `kind`,
    `duplicates` ({"rows", "places"}: rows whose content stood before), `in_both` (rows of `data.eval` that are also
    trained on), `warnings` (sentences) and `sample` (text; `color`: with ANSI colours for a terminal).
    """
    section = replace(section or DataSection(), **({} if files is None else {"train": sources(files)}))
    renderer = Renderer(tokenizer, section.template, section.supervise, section.reasoning, decoder_start=decoder_start)
    if stage == "rl":
        renderer = PromptRenderer(tokenizer, section.template, section.reasoning)
    whole = replace(section, eval=None, eval_split=0.0)
    making = preparation(Settings(whole, renderer, max_length, stage, store_folder=store_folder, strict=False))
    dataset, table = making.train(), making.table("train")
    again, both = repeats(table), 0
    if section.eval is not None:
        both = in_both(table, preparation(replace(making.settings, section=section)).table("eval"))
    return {
        **dataset.report.to_dict(),
        "kind": renderer.kind,
        "duplicates": again,
        "in_both": both,
        "warnings": list(_warnings(dataset, section, renderer, again["rows"], both)),
        "sample": sample(dataset, tokenizer, color),
    }


def sources(files: str | Sequence[Any]) -> Any:
    """One path, several, or rows, as `data.train` takes them."""
    if isinstance(files, str) or not all(isinstance(file, str) for file in files):
        return files
    return tuple(Source(path=file) for file in files)


def repeats(table: Table) -> dict[str, Any]:
    """How many "rows" are not the first of their content; "places": [place, that of the first] of `LISTED`."""
    _, first, inverse = np.unique(table.digests, return_index=True, return_inverse=True)
    before = first[inverse]
    again = np.flatnonzero(before != np.arange(len(before)))
    listed = again[:LISTED].tolist()
    places = [[_place(table, row), _place(table, int(before[row]))] for row in listed]
    return {"rows": len(again), "places": places}


def _place(table: Table, row: int) -> str:
    file, line = table.place(table.spans[row])
    return f"{file}:{line}"


def in_both(table: Table, held: Table) -> int:
    """How many rows of one table stand in the other too."""
    return int(np.isin(held.digests, table.digests).sum())


def _warnings(
    dataset: Dataset, section: DataSection, renderer: Renderer, num_repeats: int, in_both: int
) -> Iterator[str]:
    report = dataset.report
    yield from about_rows(report, section)
    if num_repeats:
        yield f"{several(num_repeats, 'row')} repeat{'s' * (num_repeats == 1)} an earlier one"
    if in_both:
        yield f"{several(in_both, 'row')} of data.eval {'is' if in_both == 1 else 'are'} also in data.train"
    if renderer.kind == "messages" and section.template == "auto" and renderer.template_name == PLAIN:
        yield f"the tokenizer has no chat template, so the built-in one called {PLAIN} is used (data.template)"
    if not dataset.everything:
        yield from _about_texts(dataset, renderer)


def about_rows(report: DataReport, section: DataSection) -> Iterator[str]:
    """What is to be said of bad and over-long rows."""
    rows = report.rows
    if rows["skipped"]:
        fate = "left out" if section.on_bad_row == "skip" else "refused: data.on_bad_row=error"
        yield f"{several(rows['skipped'], 'bad row')} {'is' if rows['skipped'] == 1 else 'are'} {fate}"
    if rows["overlong"]:
        whole = rows["kept"] + rows["overlong"]
        share, one = rows["overlong"] / whole, rows["overlong"] == 1
        some = f"{rows['overlong']} of {several(whole, 'row')} ({share:.0%}) {'does' if one else 'do'} not fit"
        refused = section.overlong == "error" or (section.overlong == "auto" and share > QUARTER)
        fate = (
            f"and a run would be refused (data.overlong={section.overlong})"
            if refused
            else f"and {'is' if one else 'are'} left out"
        )
        yield (f"{some} in {report.max_length} tokens {fate}, with {report.supervised_tokens_lost} supervised tokens")
    if not rows["kept"]:
        yield "no row is left to train on"


def _about_texts(dataset: Dataset, renderer: Renderer) -> Iterator[str]:
    number = min(len(dataset), READ)
    counts = dict.fromkeys(SIGNS, 0)
    for row in range(number):
        example = dataset.example(row)
        for sign, looks in SIGNS.items():
            counts[sign] += looks(example, renderer)
    for sign, count in counts.items():
        if count:
            yield f"{count} of {number} rows: {sign}"


def _run_together(example: Example, renderer: Renderer) -> bool:
    prompt, completion = example.prompt or "", example.completion or ""
    joined = bool(prompt and completion) and renderer.two_sides is None
    return joined and not prompt[-1].isspace() and not completion[0].isspace()


def _ends_in_space(example: Example, renderer: Renderer) -> bool:
    return (example.prompt or "").endswith(" ")


def _no_prompt(example: Example, renderer: Renderer) -> bool:
    if example.kind == "completion":
        return not (example.prompt or "").strip()
    return any(message.role == "user" and not message.content.strip() for message in example.messages)


def _control(example: Example, renderer: Renderer) -> bool:
    texts = [message.content for message in example.messages] or [example.text or example.prompt or ""]
    return any(token in text for text in texts for token in renderer.tokens.special if token)


SIGNS = {
    "nothing but the end of the prompt divides it from the completion: they are joined as they are": _run_together,
    "the prompt ends in a space, which most tokenizers have at the start of a word": _ends_in_space,
    "the prompt is empty": _no_prompt,
    "the text holds what the tokenizer reads as a special token": _control,
}

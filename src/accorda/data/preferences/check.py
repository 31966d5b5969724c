"""What `accorda data check` tells about compared answers before anything is trained on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from accorda.data.check import LISTED, READ, about_rows, in_both, repeats, sources
from accorda.data.example import Example, Message
from accorda.data.order import order
from accorda.data.preferences.dataset import PreferenceDataset
from accorda.data.preferences.prepare import PreferencePreparation, told_known
from accorda.data.preferences.renderer import PreferenceRenderer
from accorda.data.sample import shown
from accorda.data.settings import Settings
from accorda.recipe.sections import DataSection
from accorda.recipe.words import several

BIAS = 0.65  # of pairs in which the longer answer won: a model that counts tokens is right as often
LEAST = 30  # pairs from which a share says something
LOPSIDED = 4.0  # thumbs of one kind to one of the other
ROWS = 3


@dataclass
class Findings:
    """What is wrong with rows, by `file:line`."""

    identical: list[str]
    """Two answers of different rank that are one."""
    contradicting: list[list[str]]
    """[place, place before] of a row that ranks two answers the other way round, or likes what was disliked."""
    longer: int = 0
    """Pairs in which the better answer is the longer one, of `different` pairs that differ in length."""
    different: int = 0
    pairs: int = 0
    liked: int = 0
    disliked: int = 0

    @property
    def longer_wins(self) -> float | None:
        """The share of pairs that a model would get right that only counts characters."""
        return self.longer / self.different if self.different else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "pairs": self.pairs,
            "liked": self.liked,
            "disliked": self.disliked,
            "identical": {"rows": len(self.identical), "places": self.identical[:LISTED]},
            "contradicting": {"rows": len(self.contradicting), "places": self.contradicting[:LISTED]},
            "longer_wins": self.longer_wins,
        }


def check_preferences(
    files: str | Sequence[Any] | None,
    tokenizer: Any,
    section: DataSection | None = None,
    *,
    max_length: int,
    color: bool = False,
    store_folder: Path | str | None = None,
) -> dict[str, Any]:
    """A report on data as a run of stage reward or preference would see it; arguments and keys are those of `check`.

    `preferences` tells what `Findings` holds.
    """
    section = replace(section or DataSection(), **({} if files is None else {"train": sources(files)}))
    renderer = PreferenceRenderer(tokenizer, section.template, section.reasoning)
    whole = replace(section, eval=None, eval_split=0.0)
    making = PreferencePreparation(
        Settings(whole, renderer, max_length, "preference", store_folder=store_folder, strict=False)
    )
    dataset, table = making.train(), making.table("train")
    assert isinstance(dataset, PreferenceDataset)
    again, both, known = repeats(table), 0, ""
    if section.eval is not None:
        apart = PreferencePreparation(replace(making.settings, section=section))
        both, held = in_both(table, apart.table("eval")), apart.held()
        number = held.known_prompts(dataset) if isinstance(held, PreferenceDataset) else 0
        known = told_known(number, len(held or ())) if number else ""
    rows = order(0, 0, len(dataset))[:READ].tolist() if len(dataset) > READ else range(len(dataset))
    found = look([dataset.example(row) for row in rows])
    return {
        **dataset.report.to_dict(),
        "kind": renderer.kind,
        "duplicates": again,
        "in_both": both,
        "preferences": found.to_dict(),
        "warnings": [*about_rows(dataset.report, section), *_warnings(found, again["rows"], both, known)],
        "sample": "\n\n".join(
            shown(dataset, row, tokenizer, color) for row in sorted(order(0, 0, len(dataset))[:ROWS].tolist())
        ),
    }


def look(examples: Sequence[Example]) -> Findings:
    """What rows say of their answers, and whether they agree."""
    found = Findings([], [])
    said: dict[tuple[str, ...], tuple[int, str]] = {}
    for number, example in enumerate(examples):
        place, question = f"{example.file}:{example.line}", example.asked().to_json()
        if len(example.answers) == 1:
            found.liked += example.ranks[0] == 0
            found.disliked += example.ranks[0] != 0
        same = False
        for better, worse in judged(example):
            same |= better is not None and better == worse
            other = said.get((question, worse or "", better or ""))
            if other is not None and other[0] != number and better != worse:  # all rows of a file can be on one line
                found.contradicting.append([place, other[1]])
            said.setdefault((question, better or "", worse or ""), (number, place))
            if better is not None and worse is not None:
                found.pairs += 1
                found.different += len(better) != len(worse)
                found.longer += len(better) > len(worse)
        if same:
            found.identical.append(place)
    return found


def judged(example: Example) -> Iterator[tuple[str | None, str | None]]:
    """(better, worse) answers as text; of a thumb the other one is None."""
    texts = [spelled(answer) for answer in example.answers]
    if len(texts) == 1:
        yield (texts[0], None) if example.ranks[0] == 0 else (None, texts[0])
    for better, one in zip(texts, example.ranks, strict=True):
        for worse, other in zip(texts, example.ranks, strict=True):
            if one < other:
                yield better, worse


def spelled(answer: Message) -> str:
    """All that an answer says."""
    return "\n".join([answer.reasoning or "", answer.content, *map(str, answer.tool_calls)]).strip()


def _warnings(found: Findings, num_repeats: int, both: int, known: str) -> Iterator[str]:
    if num_repeats:
        yield f"{several(num_repeats, 'row')} repeat{'s' * (num_repeats == 1)} an earlier one"
    if both:
        yield f"{several(both, 'row')} of data.eval {'is' if both == 1 else 'are'} also in data.train"
    if known:
        yield known
    if found.identical:
        places = ", ".join(found.identical[:3])
        yield f"in {several(len(found.identical), 'row')} ({places}) an answer is preferred to itself"
    if found.contradicting:
        place, other = found.contradicting[0]
        yield f"{several(len(found.contradicting), 'row')} say the opposite of an earlier one, {place} of {other}"
    share = found.longer_wins
    if share is not None and found.different >= LEAST and not 1 - BIAS <= share <= BIAS:
        which = "longer" if share > 0.5 else "shorter"
        yield (
            f"the {which} answer is the better one in {max(share, 1 - share):.0%} of {found.different} pairs: "
            "length alone would be learned; compare the tuned model's lengths, or try dpo_norm or simpo"
        )
    if min(found.liked, found.disliked) and not 1 / LOPSIDED <= found.liked / found.disliked <= LOPSIDED:
        weight = np.round(found.disliked / found.liked, 3)
        yield (
            f"{found.liked} answers are liked and {found.disliked} are not: "
            f"algorithm.desirable_weight={weight:g} would balance them"
        )
    if (found.liked or found.disliked) and not min(found.liked, found.disliked):
        yield f"every thumb points {'up' if found.liked else 'down'}: there is nothing to tell apart"

"""The proof of the mask where answers are compared: is each answer learned behind its prompt, with its own rank?

Read from the rows the run trains on: every answer is decoded and held against the words of its example, rendered again
alone, and looked for in its source; real batches are compared with the rows.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from accorda.data.batch import IGNORE_INDEX, Batch, Segment
from accorda.data.example import Example
from accorda.data.preferences.batch import PreferenceBatch
from accorda.data.preferences.dataset import PreferenceDataset
from accorda.data.renderer import Renderer
from accorda.data.sampler import Batches
from accorda.proofs.contract import Check, Proof, check, names
from accorda.proofs.rows import carried, evenly
from accorda.proofs.source import absent_from_source
from accorda.proofs.words import Words
from accorda.recipe.sections import DataSection

READ = 48  # rows decoded, rendered again and looked up in their source
SCANNED = 20_000


def comparisons(
    dataset: PreferenceDataset, renderer: Renderer, section: DataSection, batches: Batches | None = None
) -> Proof:
    """The proof on prepared rows; preflight asks before a run folder exists."""
    sample = evenly(len(dataset), READ)
    answers = list(_answers(dataset, sample))
    absent = absent_from_source(section, dataset, sample)
    checks = [
        _something_to_tell_apart(dataset),
        _learned(answers, renderer, section),
        _rendered(answers, renderer),
        _prompts(dataset, sample),
        _ranks(dataset, sample),
        check("source", not absent, "every text stands in its source at its line", names(absent, 2)),
        _overlong(dataset),
    ]
    if batches is not None:
        checks.append(carried(batches.at(0), partial(_right, dataset), "their answers and ranks"))
    report = dataset.report
    evidence = {
        "rows": report.rows,
        "lengths": report.lengths,
        "supervised_share": report.supervised_share,
        "supervised_tokens_lost": report.supervised_tokens_lost,
        "overlong_rows": report.overlong_rows,
        "read": len(sample),
    }
    return Proof.of_checks("mask", checks, f"{checks[0].reason}; {checks[6].reason}", **evidence)


def _answers(dataset: PreferenceDataset, sample: Sequence[int]) -> Iterator[tuple[Segment, Example]]:
    """Every answer of the sampled rows, beside its example as a row of its own."""
    for row in sample:
        example, only = dataset.example(row), dataset.answer_of(row)
        numbers = range(len(example.answers)) if only is None else [only]
        for answer, number in zip(dataset[row].answers, numbers, strict=True):
            yield answer, example.answered(number)


def _something_to_tell_apart(dataset: PreferenceDataset) -> Check:
    """Every row has a strict pair; of thumbs there are both kinds."""
    rows = [dataset[row] for row in evenly(len(dataset), SCANNED)]
    if dataset.thumbs:
        liked = sum(row.ranks[0] == 0 for row in rows)
        told = f"{liked:,} answers are liked and {len(rows) - liked:,} are not"
        return check("compared", 0 < liked < len(rows), told, f"{told}: there is nothing to tell apart")
    tied = [_place(row) for row in rows if len(set(row.ranks)) < 2]
    answers = sum(len(row.ranks) for row in rows)
    return check(
        "compared",
        not tied,
        f"{len(rows):,} rows compare {answers:,} answers, none of them all alike",
        f"no answer is above another in {names(tied, 3)}",
    )


def _learned(answers: Sequence[tuple[Segment, Example]], renderer: Renderer, section: DataSection) -> Check:
    words = Words(renderer.tokenizer, "last", section.reasoning)
    wrong = [
        f"{_place(answer)}: {fault}" for answer, example in answers if (fault := words.fault(answer, example, False))
    ]
    endless = [f"{_place(answer)}: its stop token is not learned" for answer, _ in answers if not words.ends(answer)]
    reason = f"of {len(answers)} answers exactly the answer is learned, its stop token with it"
    return check("answers", not (wrong or endless), reason, names([*wrong, *endless], 2))


def _rendered(answers: Sequence[tuple[Segment, Example]], renderer: Renderer) -> Check:
    """The ids are those of the same answer as a row of stage sft."""
    plain = Renderer(renderer.tokenizer, renderer.template, "last", renderer.reasoning)
    other = []
    for answer, example in answers:
        again = plain.render(example)
        if not np.array_equal(answer.input_ids, again.input_ids) or not np.array_equal(
            answer.supervised[1:], again.supervised[1:]
        ):
            other.append(_place(answer))
    return check("rendered", not other, "every answer is what stage sft would learn of it", names(other, 3))


def _prompts(dataset: PreferenceDataset, sample: Sequence[int]) -> Check:
    """All answers of a row stand behind the same ids."""
    wrong = [
        _place(dataset[row])
        for row in sample
        if len({tuple(answer.input_ids[~answer.supervised].tolist()) for answer in dataset[row].answers}) > 1
    ]
    return check("prompts", not wrong, "all answers of a row have the same prompt in front", names(wrong, 3))


def _ranks(dataset: PreferenceDataset, sample: Sequence[int]) -> Check:
    wrong = []
    for row in sample:
        example, only, segment = dataset.example(row), dataset.answer_of(row), dataset[row]
        meant = example.ranks if only is None else (min(example.ranks[only], 1),)
        if segment.ranks != meant or len(segment.answers) != len(meant) or segment.margin != (example.margin or 0.0):
            wrong.append(_place(segment))
    return check("ranks", not wrong, "every answer has the rank that its row says", names(wrong, 3))


def _overlong(dataset: PreferenceDataset) -> Check:
    """What over-length cost; it only fails where the counts do not add up."""
    report, rows, longest = dataset.report, dataset.report.rows, dataset.longest
    told = "no answer was too long"
    if rows["overlong"]:
        told = f"{rows['overlong']} rows with an answer over {report.max_length} tokens left out"
    adds_up = rows["seen"] == rows["kept"] + rows["skipped"] + rows["overlong"] and longest <= report.max_length
    return check("over-length", adds_up, told, f"the counts do not add up: {rows}, longest {longest}")


def _right(dataset: PreferenceDataset, batch: Batch) -> bool:
    """Every answer of every row in its place, what is learned labelled, its rank beside it."""
    if not isinstance(batch, PreferenceBatch) or batch.num_supervised != len(batch.rows) or not len(batch.rows):
        return False
    answers = [answer for row in batch.rows for answer in dataset[row].answers]
    labels, ids = batch.labels.cpu().numpy(), batch.input_ids.cpu().numpy()
    if batch.packing is None:
        places = [(line, slice(0, len(answer))) for line, answer in enumerate(answers)]
    else:
        places = [(0, slice(start, end)) for start, end in pairwise(batch.packing.borders)]
    for answer, place in zip(answers, places, strict=True):
        wanted = np.where(answer.supervised, answer.input_ids, IGNORE_INDEX)
        wanted[:1] = IGNORE_INDEX
        if not np.array_equal(ids[place], answer.input_ids) or not np.array_equal(labels[place], wanted):
            return False
    ranks = [dataset[row].ranks for row in batch.rows]
    return [segment.ranks for segment in batch.segments] == ranks and len(batch.targets()[0]) == sum(batch.learned)


def _place(segment: Segment) -> str:
    return f"{segment.file}:{segment.line}"

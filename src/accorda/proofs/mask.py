"""Is exactly what should be learned supervised, and nothing else?

Read from the rows the run trains on, not from the renderer's own mask: the supervised ids are decoded and compared with
the completion's text, the text is looked for in the source file, the labels of real batches are compared with the rows.
"""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from accorda.data.batch import IGNORE_INDEX, Batch, Segment
from accorda.data.dataset import Dataset
from accorda.data.labelled.dataset import LabelledDataset
from accorda.data.preferences.dataset import PreferenceDataset
from accorda.data.prompts.dataset import PromptDataset
from accorda.data.rendered import Rendered
from accorda.data.renderer import Renderer
from accorda.data.sampler import Batches
from accorda.proofs.comparisons import comparisons
from accorda.proofs.contract import Check, Proof, Prover, check, names
from accorda.proofs.labels import labelled
from accorda.proofs.prompts import prompted
from accorda.proofs.rows import carried, evenly
from accorda.proofs.source import absent_from_source
from accorda.proofs.words import Words
from accorda.recipe.sections import DataSection
from accorda.recipe.words import several
from accorda.training.session import Session

SCANNED = 20_000  # rows looked through for labels and BOS
READ = 48  # rows decoded, rendered again and looked up in their source
SHORTENING = ("truncate", "truncate_prompt")


class Mask(Prover):
    """Exactly the intended tokens are supervised, the end-of-turn token among them; no row without labels."""

    name = "mask"

    def prove(self, session: Session, folder: Path) -> Proof:
        """On the training rows and the first step's batches."""
        if not isinstance(session.train, Dataset):
            return Proof(self.name, "not applicable", "the rows were given as tokens, without the text they stand for")
        if isinstance(session.train, LabelledDataset):
            return labelled(session.train, session.recipe.data, session.batches)
        if isinstance(session.train, PreferenceDataset):
            return comparisons(session.train, session.renderer, session.recipe.data, session.batches)
        if isinstance(session.train, PromptDataset):
            return prompted(session.train, session.renderer, session.recipe.data, session.batches)
        return masked(session.train, session.renderer, session.recipe.data, session.batches)


def masked(dataset: Dataset, renderer: Renderer, section: DataSection, batches: Batches | None = None) -> Proof:
    """The proof on prepared rows; preflight asks before a run folder exists.

    Rows are sampled evenly: 20,000 for labels and BOS, 48 for their text.
    """
    scanned = [dataset[index] for index in evenly(len(dataset), SCANNED)]
    sample = evenly(len(dataset), READ)
    checks = [
        _no_row_without_labels(scanned),
        _bos_once(scanned, renderer.tokenizer, blocks=dataset.everything),
        *(
            _everything_learned(dataset, scanned)
            if dataset.everything
            else _text_checks(dataset, renderer, section, sample)
        ),
        _overlong(dataset),
    ]
    if renderer.two_sides is not None:
        checks.insert(-1, _two_sides(scanned, renderer.two_sides.start))
    if batches is not None:
        checks.append(carried(batches.at(0), partial(_labels_right, dataset), "these labels"))
    report = dataset.report
    evidence = {
        "rows": report.rows,
        "lengths": report.lengths,
        "supervised_share": report.supervised_share,
        "supervised_tokens_lost": report.supervised_tokens_lost,
        "overlong_rows": report.overlong_rows,
        "scanned": len(scanned),
        "read": len(sample),
    }
    kept = several(report.rows["kept"], "row")
    share = f"{report.supervised_share:.0%} of {report.tokens:,} tokens are supervised in {kept}"
    return Proof.of_checks("mask", checks, f"{share}; {checks[-2 if batches else -1].reason}", **evidence)


def _no_row_without_labels(segments: Sequence[Segment]) -> Check:
    empty = [_place(s) for s in segments if not s.supervised[1:].any()]
    return check("labels", not empty, f"each of {len(segments)} rows has labels", f"no label in {names(empty, 3)}")


def _bos_once(segments: Sequence[Segment], tokenizer: PreTrainedTokenizerBase, blocks: bool) -> Check:
    """BOS nowhere twice in a row; and before every row, unlearned, where the tokenizer puts it before a text."""
    bos = tokenizer.bos_token_id
    if not isinstance(bos, int):
        return Check("bos", "not applicable", "the tokenizer has no BOS")
    twice = [_place(s) for s in segments if _doubled(s.input_ids == bos)]
    wanted: list[int] = tokenizer("a")["input_ids"][:1]
    first = [] if blocks else [_place(s) for s in segments if wanted == [bos] and _bos_fault(s, bos)]
    why = f"BOS stands twice in {names(twice, 3)}" if twice else f"BOS is missing or learned in {names(first, 3)}"
    return check("bos", not (twice or first), "BOS stands where it should, nowhere twice", why)


def _bos_fault(segment: Segment, bos: int) -> bool:
    return int(segment.input_ids[0]) != bos or bool(segment.supervised[0])


def _doubled(flags: np.ndarray) -> bool:
    return bool((flags[1:] & flags[:-1]).any())


def _two_sides(segments: Sequence[Segment], start: int) -> Check:
    """Of an encoder-decoder: the encoder's side is read only, the decoder's is learned behind its start token."""
    wrong = [
        _place(s)
        for s in segments
        if not s.encoder_length
        or int(s.decoder_ids[0]) != start
        or not np.array_equal(s.supervised, np.arange(len(s)) > s.encoder_length)
    ]
    reason = f"in {len(segments)} rows the decoder's side is learned behind token {start}, and the encoder's is not"
    return check("two sides", not wrong, reason, f"other tokens than the decoder's are learned in {names(wrong, 3)}")


def _everything_learned(dataset: Dataset, segments: Sequence[Segment]) -> list[Check]:
    """Pretraining: every token counts, and documents end with the end-of-sequence token."""
    holes = [_place(s) for s in segments if not s.supervised.all()]
    reason = f"every token of {len(segments)} blocks is learned"
    return [check("everything learned", not holes, reason, f"tokens left out in {names(holes, 3)}")]


def _text_checks(dataset: Dataset, renderer: Renderer, section: DataSection, sample: Sequence[int]) -> list[Check]:
    words = Words(renderer.tokenizer, section.supervise, section.reasoning)
    shortening = section.overlong in SHORTENING
    wrong, endless, other = list[str](), list[str](), list[str]()
    for index in sample:
        segment, example = dataset[index], dataset.example(index)
        again = renderer.render(example)
        shortened = shortening and len(again.input_ids) > len(segment)
        if not _same_row(segment, again, shortened):
            other.append(_place(segment))
        fault = words.fault(segment, example, shortened)
        wrong += [f"{_place(segment)}: {fault}"] if fault else []
        if not words.ends(segment) and not (shortened and section.overlong == "truncate"):
            endless.append(_place(segment))
    absent = absent_from_source(section, dataset, sample)
    return [
        check("completion", not wrong, f"in {len(sample)} rows what is learned is the completion", names(wrong, 2)),
        check("end", not endless, "every completion ends with its learned stop token", _endless(endless)),
        check("rendered", not other, "rows are what the renderer makes of them now", _other(other)),
        check("source", not absent, "every text stands in its source at its line", names(absent, 2)),
    ]


def _endless(rows: list[str]) -> str:
    return f"the stop token is not learned in {names(rows, 3)}: the model would not learn to stop"


def _other(rows: list[str]) -> str:
    return f"the stored tokens are not what the renderer makes of {names(rows, 3)}: a stale store"


def _same_row(segment: Segment, again: Rendered, shortened: bool) -> bool:
    """Equal; or, of a shortened row, each side's beginning, or its end behind at most the BOS."""
    if not shortened:
        return np.array_equal(segment.input_ids, again.input_ids) and np.array_equal(
            segment.supervised, again.supervised
        )
    before, after = again.input_ids[: again.encoder_length], again.input_ids[again.encoder_length :]
    return _shortened(segment.encoder_ids, before) and _shortened(segment.decoder_ids, after)


def _shortened(kept: np.ndarray, ids: np.ndarray) -> bool:
    number = len(kept)
    cuts = [(0, ids[:number]), (0, ids[len(ids) - number :]), (1, ids[len(ids) - number + 1 :])]
    return any(np.array_equal(kept[skip:], part) for skip, part in cuts)


def _overlong(dataset: Dataset) -> Check:
    """What over-length cost; the user's policy decided it, so it only fails where the count does not add up."""
    report, rows = dataset.report, dataset.report.rows
    lost, cut = rows["overlong"], rows.get("truncated", 0)
    cost = f"{report.supervised_tokens_lost:,} supervised tokens lost" if lost or cut else "no row was too long"
    told = (
        f"{several(lost, 'row')} over {report.max_length} tokens left out, {cut} shortened, {cost}"
        if lost or cut
        else cost
    )
    adds_up = rows["seen"] == rows["kept"] + rows["skipped"] + lost and dataset.longest <= report.max_length
    return check("over-length", bool(adds_up), told, f"the counts do not add up: {rows}, longest {dataset.longest}")


def _labels_right(dataset: Dataset, batch: Batch) -> bool:
    """Every token of every row in its place, on both sides where there are two, and what is learned labelled."""
    labels, written, read = (t.cpu().numpy() for t in (batch.labels, batch.learned_ids, batch.input_ids))
    segments = [dataset[row] for row in batch.rows]
    packed, total = batch.packing is not None, 0
    for segment, here, there in zip(segments, _places(segments, packed, 1), _places(segments, packed, 0), strict=True):
        wanted = np.where(segment.supervised, segment.input_ids, IGNORE_INDEX)[segment.encoder_length :]
        wanted[:1] = IGNORE_INDEX
        pairs = [(labels[here], wanted), (written[here], segment.decoder_ids)]
        pairs += [(read[there], segment.encoder_ids)] if segment.encoder_length else []
        if not all(np.array_equal(found, meant) for found, meant in pairs):
            return False
        total += int((wanted != IGNORE_INDEX).sum())
    positions, targets = batch.targets()
    follows = bool((batch.learned_ids.reshape(-1)[positions + 1] == targets).all())
    return follows and total == len(targets) == batch.num_supervised == int((labels != IGNORE_INDEX).sum())


def _places(segments: Sequence[Segment], packed: bool, side: int) -> list[tuple[int, slice]]:
    """Line and stretch of each row in a batch: of its encoder's side (0) or its decoder's (1)."""
    lengths = [len((s.encoder_ids, s.decoder_ids)[side]) for s in segments]
    if not packed:
        return [(line, slice(0, length)) for line, length in enumerate(lengths)]
    return [(0, slice(end - length, end)) for length, end in zip(lengths, accumulate(lengths), strict=True)]


def _place(segment: Any) -> str:
    return f"{segment.file}:{segment.line}"

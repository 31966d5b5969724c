"""BLEU against the library it is computed by, and by hand."""

import math
import sys

import pytest
from sacrebleu.metrics.bleu import BLEU

from accorda.errors import Refusal
from accorda.evaluation.intervals import estimate
from accorda.evaluation.metric import Row
from accorda.evaluation.metrics import bleu
from accorda.evaluation.metrics.bleu import Bleu

COMPLETIONS = ["The cat sat on the mat.", "He ran away", "", "It is a Guide to action, which ensures the military"]
REFERENCES = ["The cat sat on a mat.", "He walked away", "nothing", "It is a guide to action that ensures the military"]
ROWS = [Row(completion, (reference,)) for completion, reference in zip(COMPLETIONS, REFERENCES, strict=True)]


@pytest.mark.parametrize("options", [{}, {"lowercase": True}, {"tokenize": "char"}])
def test_equals_the_library_on_the_whole_corpus(options):
    library = BLEU(**options)
    expected = library.corpus_score(COMPLETIONS, [REFERENCES])
    metric = Bleu(**options)
    assert estimate(metric, ROWS)["bleu"].value == pytest.approx(expected.score)
    assert metric.notes(ROWS) == {"signature": str(library.get_signature())}


def test_two_references_per_row():
    other = ["A cat sat on the mat.", "He ran", "none", "It guides"]
    rows = [Row(*parts) for parts in zip(COMPLETIONS, zip(REFERENCES, other, strict=True), strict=True)]
    library = BLEU()
    assert estimate(Bleu(), rows)["bleu"].value == pytest.approx(
        library.corpus_score(COMPLETIONS, [REFERENCES, other]).score
    )
    assert Bleu().notes(rows) == {"signature": str(library.get_signature())}


def test_by_hand():
    """Precisions 5/6, 3/5, 2/4, 1/3 (`the` for `a` breaks the rest), equal length."""
    row = Row("the cat sat on the mat", ("the cat sat on a mat",))
    expected = 100 * math.exp(sum(math.log(p) for p in (5 / 6, 3 / 5, 2 / 4, 1 / 3)) / 4)
    assert estimate(Bleu(), [row])["bleu"].value == pytest.approx(expected)


def test_short_completions_pay_the_brevity_penalty():
    row = Row("a b c d", ("a b c d e f g h",))
    assert estimate(Bleu(), [row])["bleu"].value == pytest.approx(100 * math.exp(1 - 8 / 4))


def test_a_missing_package_and_an_unknown_tokenizer_are_named(monkeypatch):
    with pytest.raises(Refusal, match=r"bleu.tokenize: 'words' is none of 13a"):
        Bleu(tokenize="words")
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    bleu.library.cache_clear()
    with pytest.raises(Refusal, match=r"pip install .*\[metrics\]'"):
        Bleu()

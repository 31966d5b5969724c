"""The final number of a worked answer."""

import json

import pytest

from accorda.evaluation.intervals import estimate
from accorda.evaluation.metric import Row
from accorda.evaluation.metrics.gsm8k_exact_match import Gsm8kExactMatch, answer


@pytest.mark.parametrize(
    ("text", "flexible", "strict"),
    [
        ("48/2 = <<48/2=24>>24 clips\n48+24 = 72\n#### 72", "72", "72"),
        ("She pays $1,234.50.", "1234.50", None),
        ("It falls to -7 degrees.", "-7", None),
        ("#### 1,000 and not 5", "5", "1000"),
        ("I do not know ...", None, None),
        ("", None, None),
    ],
)
def test_the_number_that_is_read(text, flexible, strict):
    assert (answer(text, False), answer(text, True)) == (flexible, strict)


def test_share_of_rows():
    rows = [Row("So 72.", ("#### 72",)), Row("71", ("#### 72",)), Row("no idea", ("#### 72",))]
    assert estimate(Gsm8kExactMatch(), rows)["gsm8k_exact_match"].value == pytest.approx(1 / 3)
    assert estimate(Gsm8kExactMatch(strict=True), rows)["gsm8k_exact_match"].value == 0


def test_every_reference_of_the_real_set_is_read(shared):
    lines = (shared / "data" / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    assert all(answer(text, False) == text.split("#### ")[1].replace(",", "") for text in answers)

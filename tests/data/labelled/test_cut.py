"""Cutting is what transformers' tokenizers do with `truncation="longest_first"`."""

import numpy as np
import pytest
from tests.zoo import tiny_tokenizer

from accorda.data.example import Example
from accorda.data.labelled.cut import shortened
from accorda.data.labelled.renderer import LabelledRenderer
from accorda.models.labels import Labels

LONG, SHORT = "how many clips did Natalia sell altogether", "in May"


@pytest.mark.parametrize("max_length", [5, 6, 8, 9, 12, 15, 16, 20, 200])
@pytest.mark.parametrize(("text", "pair"), [(LONG, None), (LONG, SHORT), (SHORT, LONG), (LONG, LONG + SHORT)])
@pytest.mark.parametrize("framed", [True, False])
def test_as_the_tokenizer_itself_cuts(text, pair, max_length, framed):
    tokenizer = tiny_tokenizer(framed=framed)
    if pair is not None and not framed:
        pytest.skip("this tokenizer puts nothing between two texts, so they are joined to one")
    renderer = LabelledRenderer(tokenizer, Labels(("a", "b")))
    row = renderer.render(Example(text=text, text_pair=pair))
    kept = shortened(row.input_ids, row.prompt_length, renderer.frame, max_length)
    expected = tokenizer(text, pair, truncation="longest_first", max_length=max_length)["input_ids"]
    assert kept.tolist() == expected


def test_what_fits_is_left_alone():
    renderer = LabelledRenderer(tiny_tokenizer(framed=True), Labels())
    values = np.arange(7)
    assert shortened(values, 7, renderer.frame, 7) is values

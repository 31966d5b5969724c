"""Labelled rows as data sets and batches."""

import numpy as np
import pytest
import torch
from tests.zoo import tiny_tokenizer

from accorda.data.labelled.batch import LabelledBatches
from accorda.data.labelled.prepare import prepare_labelled
from accorda.data.labelled.renderer import LabelledRenderer, load_renderer
from accorda.data.renderer import Renderer
from accorda.errors import Refusal
from accorda.models.labels import Labels
from accorda.recipe.sections import DataSection

ROWS = [{"text": "clips " * (1 + number % 7), "label": ("neg", "pos")[number % 2]} for number in range(20)]
PAIRS = [
    {"premise": "clips in May", "hypothesis": "sold " * (1 + number % 3), "label": number % 2} for number in range(8)
]


def prepared(rows, store, names=("neg", "pos"), max_length=64, framed=True, **section):
    renderer = LabelledRenderer(tiny_tokenizer(framed=framed), Labels(names), has_types=framed)
    section = DataSection(train=rows, **section)
    return prepare_labelled(section, renderer, max_length=max_length, store_folder=store)


def test_rows_have_their_labels_and_special_tokens(tmp_path):
    train, held = prepared(ROWS, tmp_path, eval_split=0.2)
    assert len(train) + len(held) == 20
    assert train.report.labels == {"neg": int((train.values == 0).sum()), "pos": int((train.values == 1).sum())}
    for segment in (train[row] for row in range(len(train))):
        assert (segment.input_ids[0], segment.input_ids[-1]) == (1, 2)
        assert segment.label == (segment.line - 1) % 2
        assert segment.supervised.sum() == 1
    assert train.report.supervised_tokens == len(train)


def test_a_batch_has_one_label_per_row_and_types_of_the_second_text(tmp_path):
    train, _ = prepared(PAIRS, tmp_path, ("0", "1"), eval_split=0.0)
    batch = LabelledBatches(train, batch_size=8, micro_tokens=512, packed=False).at(0)[0]
    assert batch.num_supervised == len(batch.rows) == 8
    assert batch.wanted.tolist() == [train.values[row] for row in batch.rows]
    inputs = batch.inputs()
    assert set(inputs) == {"input_ids", "attention_mask", "token_type_ids"}
    for at, row in enumerate(batch.rows):
        example = train.example(row)
        alone = train.renderer.tokenizer(example.text, example.text_pair)
        length = len(alone["input_ids"])
        assert inputs["input_ids"][at, :length].tolist() == alone["input_ids"]
        assert inputs["token_type_ids"][at, :length].tolist() == alone["token_type_ids"]
        assert not inputs["token_type_ids"][at, length:].any()
        assert int(inputs["attention_mask"][at].sum()) == length


def test_every_split_into_micro_batches_sees_the_same_rows_in_every_step(tmp_path):
    train, _ = prepared(ROWS, tmp_path, eval_split=0.0)
    whole, split = (LabelledBatches(train, batch_size=8, micro_tokens=n, packed=False, seed=3) for n in (1000, 20))
    for step in range(5):
        assert len(split.at(step)) > 1 or len(whole.rows(step)) < 3
        rows = [sorted(row for batch in each.at(step) for row in batch.rows) for each in (whole, split)]
        assert rows[0] == rows[1] == sorted(whole.rows(step).tolist())


def test_two_texts_are_joined_where_the_tokenizer_puts_nothing_between(tmp_path):
    train, _ = prepared(PAIRS, tmp_path, ("0", "1"), framed=False, eval_split=0.0)
    example = train.example(0)
    joined = f"{example.text}\n{example.text_pair}"
    assert train[0].input_ids.tolist() == train.renderer.tokenizer(joined)["input_ids"]


def test_long_texts_are_cut_or_left_out_as_the_policy_says(tmp_path):
    cut, _ = prepared(ROWS, tmp_path, max_length=8, eval_split=0.0)
    assert cut.report.rows["truncated"] > 0
    assert cut.report.rows["kept"] == 20
    assert cut.lengths.max() == 8 == max(len(cut[row]) for row in range(20))
    assert all(cut[row].input_ids[-1] == 2 for row in range(20))
    skipped, _ = prepared(ROWS, tmp_path, max_length=8, eval_split=0.0, overlong="skip")
    assert len(skipped) == 20 - skipped.report.rows["overlong"] < 20
    assert cut.hash != skipped.hash
    with pytest.raises(Refusal, match=r"data\.overlong=error"):
        prepared(ROWS, tmp_path, max_length=8, overlong="error")
    with pytest.raises(Refusal, match="have no prompt"):
        prepared(ROWS, tmp_path, max_length=8, overlong="truncate_prompt")
    with pytest.raises(Refusal, match="special tokens alone take 3"):
        prepared(ROWS, tmp_path, max_length=3)


def test_numbers_are_kept_as_they_are(tmp_path):
    rows = [{"text": f"row {number}", "label": number / 8} for number in range(8)]
    train, _ = prepared(rows, tmp_path, (), eval_split=0.0)
    assert np.array_equal(np.sort(train.values), np.arange(8) / 8)
    assert train.report.labels == {"least": 0.0, "mean": 0.4375, "most": 0.875}


def test_a_label_that_was_not_learned_is_refused_with_its_place(tmp_path):
    with pytest.raises(Refusal, match=r"data\.eval:2: the label 'odd' is none of those learned: neg, pos"):
        prepared(ROWS, tmp_path, eval=[ROWS[0], {"text": "a", "label": "odd"}])
    with pytest.raises(Refusal, match=r"data\.train:1: the label 'neg' is no number"):
        prepared(ROWS, tmp_path, ())


def test_the_renderer_comes_back_with_its_labels(tmp_path):
    tokenizer = tiny_tokenizer(framed=True)
    renderer = LabelledRenderer(tokenizer, Labels(("neg", "pos")), has_types=True)
    renderer.save(tmp_path)
    again = load_renderer(tmp_path, tokenizer)
    assert again.digest == renderer.digest
    assert (again.labels, again.has_types) == (renderer.labels, True)
    with pytest.raises(Refusal, match="made for rows with labels"):
        Renderer.load(tmp_path, tokenizer)
    with pytest.raises(Refusal, match="another tokenizer"):
        load_renderer(tmp_path, tiny_tokenizer())


def test_labels_beyond_half_precision_stay_exact(tmp_path):
    rows = [{"text": f"row {number}", "label": 0.1 + number} for number in range(4)]
    train, _ = prepared(rows, tmp_path, (), eval_split=0.0)
    batch = LabelledBatches(train, batch_size=4, micro_tokens=512, packed=False).at(0)[0]
    assert batch.wanted.dtype == torch.float32

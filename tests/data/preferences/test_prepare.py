"""Compared answers as data sets and batches, against rows rendered one answer at a time."""

import numpy as np
import pytest
from tests.zoo import tiny_tokenizer

from accorda.data.batch import IGNORE_INDEX
from accorda.data.preferences.batch import PreferenceBatches, mismatched
from accorda.data.preferences.prepare import prepare_preferences
from accorda.data.preferences.renderer import PreferenceRenderer
from accorda.data.renderer import Renderer
from accorda.errors import Refusal
from accorda.recipe.sections import DataSection

PAIRS = [
    {"prompt": f"{a} plus {b} is ", "chosen": str(a + b), "rejected": f"not {a * b} at all"}
    for a in range(5)
    for b in range(4)
]
RANKED = [{"prompt": f"{a} is ", "completions": ["one", "two " * a, "three"], "ranks": [1, 2, 2]} for a in range(1, 9)]
TALKS = [{"prompt": [{"role": "user", "content": f"{a}?"}], "chosen": "yes", "rejected": "no" * a} for a in range(1, 9)]


def prepared(rows, store, *, thumbs=False, max_length=64, **section):
    renderer = PreferenceRenderer(tiny_tokenizer(), thumbs=thumbs)
    section = DataSection(train=rows, **({"eval_split": 0.0} | section))
    return prepare_preferences(section, renderer, max_length=max_length, store_folder=store)


@pytest.mark.parametrize("rows", [PAIRS, RANKED, TALKS], ids=["pairs", "ranked", "talks"])
def test_every_answer_is_the_row_that_stage_sft_would_learn(rows, tmp_path):
    train, _ = prepared(rows, tmp_path)
    plain = Renderer(tiny_tokenizer())
    assert len(train) == len(rows)
    for row in range(len(train)):
        segment, example = train[row], train.example(row)
        alone = [plain.render(example.answered(number)) for number in range(len(example.answers))]
        assert len(segment.answers) == len(segment.ranks) == len(alone)
        for answer, rendered in zip(segment.answers, alone, strict=True):
            assert answer.input_ids.tolist() == rendered.input_ids.tolist()
            assert answer.supervised.tolist() == rendered.supervised.tolist()
        assert train.prompt_ids(row) == plain.prompt_ids(example.asked())
        assert train.lengths[row] == len(segment) == sum(map(len, segment.answers))
    assert train.longest == max(len(answer) for row in range(len(train)) for answer in train[row].answers)


@pytest.mark.parametrize("packed", [True, False])
def test_a_batch_counts_rows_and_numbers_their_answers(packed, tmp_path):
    train, _ = prepared([*PAIRS[:3], *PAIRS[7:9]], tmp_path)
    batches = PreferenceBatches(train, batch_size=5, micro_tokens=1000, packed=packed)
    (batch,) = batches.at(0)
    assert batch.num_supervised == 5
    assert batch.pairs == [(row, 2 * row, 2 * row + 1) for row in range(5)]
    _, labels = batch.targets()
    answers = [answer for row in batch.rows for answer in train[row].answers]
    assert batch.learned == tuple(int(answer.supervised.sum()) for answer in answers)
    assert labels.tolist() == [number for a in answers for number in a.input_ids[a.supervised].tolist()]
    assert int((batch.labels != IGNORE_INDEX).sum()) == sum(batch.learned)
    assert batch.num_tokens == sum(map(len, answers))


def test_a_pair_never_comes_apart_whatever_the_split_into_micro_batches(tmp_path):
    train, _ = prepared(PAIRS, tmp_path)
    for packed in (True, False):
        for micro in (1, 60, 200):
            batches = PreferenceBatches(train, batch_size=8, micro_tokens=micro, packed=packed)
            found = [row for batch in batches.at(0) for row in batch.rows]
            assert sorted(found) == sorted(batches.rows(0).tolist())
            assert all(len(batch.learned) == 2 * len(batch.rows) for batch in batches.at(0))
            sizes = [b.input_ids.numel() for b in batches.at(0) if len(b.rows) > 1]
            assert all(size <= micro for size in sizes)


def test_thumbs_are_rows_of_their_own_and_pairs_split_into_them(tmp_path):
    train, _ = prepared(PAIRS, tmp_path, thumbs=True)
    pairs, _ = prepared(PAIRS, tmp_path)
    assert len(train) == 2 * len(PAIRS)
    for row in range(len(train)):
        segment, whole = train[row], pairs[row // 2]
        assert segment.ranks == (row % 2,)
        assert segment.input_ids.tolist() == whole.answers[row % 2].input_ids.tolist()
        assert (segment.index, train.answer_of(row), train.lengths[row]) == (row, row % 2, len(segment))


def test_mismatched_rows_have_one_rows_prompt_and_anothers_answer(tmp_path):
    train, _ = prepared(PAIRS, tmp_path, thumbs=True)
    rows = [train[row] for row in (0, 5, 9)]
    made = mismatched(rows, [1, 2, 0], longest=64)
    for at, place in enumerate((1, 2, 0)):
        one, other = rows[at], rows[place]
        wanted = [*one.input_ids[~one.supervised], *other.input_ids[other.supervised]]
        assert made[at].input_ids.tolist() == wanted
        assert made[at].supervised.sum() == other.supervised.sum()
    assert len(mismatched(rows, [1, 2, 0], longest=12)[0]) == 12


def test_rows_of_one_prompt_stand_on_one_side_of_the_split(tmp_path):
    rows = [{"prompt": f"{a} is", "chosen": f"good {b}", "rejected": f"bad {b}"} for a in range(20) for b in range(5)]
    train, held = prepared(rows, tmp_path, eval_split=0.2)
    asked = [{dataset.example(row).prompt for row in range(len(dataset))} for dataset in (train, held)]
    assert len(held) == 20
    assert not asked[0] & asked[1]


def test_long_rows_are_left_out_and_never_cut(tmp_path):
    long = {"prompt": "a ", "chosen": "b" * 200, "rejected": "c"}
    train, _ = prepared([*PAIRS, long], tmp_path)
    assert train.report.rows["overlong"] == 1
    assert len(train) == len(PAIRS)
    with pytest.raises(Refusal, match=r"data\.overlong=skip, or data\.max_length"):
        prepared([long, long], tmp_path)
    for policy in ("truncate", "truncate_prompt"):
        with pytest.raises(Refusal, match=f"data.overlong = {policy}: compared answers are never cut"):
            prepared(PAIRS, tmp_path, overlong=policy)


def test_a_template_that_shows_the_prompt_differently_is_refused(tmp_path):
    template = tmp_path / "odd.jinja"
    template.write_text(
        "{% for m in messages %}{% if m.role == 'user' %}{{ messages|length }}"
        "{{ messages[-1].content|length }}{{ m.content }}{% else %}{% generation %}{{ m.content }}</s>"
        "{% endgeneration %}{% endif %}{% endfor %}"
    )
    renderer = PreferenceRenderer(tiny_tokenizer(), str(template))
    section = DataSection(train=TALKS, eval_split=0.0)
    with pytest.raises(Refusal, match="the template shows the prompt in another way to each answer"):
        prepare_preferences(section, renderer, max_length=64, store_folder=tmp_path)


def test_a_first_token_is_never_learned(tmp_path):
    renderer = PreferenceRenderer(tiny_tokenizer(add_bos=False))
    rows = [{"prompt": "", "chosen": "yes", "rejected": "no way"}]
    train, _ = prepare_preferences(
        DataSection(train=rows, eval_split=0.0), renderer, max_length=64, store_folder=tmp_path
    )
    assert [len(answer) - int(answer.supervised.sum()) for answer in train[0].answers] == [1, 1]
    assert np.diff(train[0].borders).tolist() == [len(answer) for answer in train[0].answers]


def test_held_out_rows_about_prompts_that_are_trained_on_are_counted_and_warned_of(tmp_path, caplog):
    new = {"prompt": "never asked ", "chosen": "a", "rejected": "b"}
    _, held = prepared(PAIRS, tmp_path, eval=[{**PAIRS[3], "chosen": "other"}, new])
    assert held.report.known_prompts == 1
    assert "data.eval: 1 of 2 rows asks what rows of data.train ask" in caplog.text
    caplog.clear()
    train, held = prepared([*PAIRS, *({**row, "chosen": "other"} for row in PAIRS)], tmp_path, eval_split=0.3)
    assert held.report.known_prompts == 0
    assert not set(train.prompts) & set(held.prompts)
    assert not caplog.records


def test_held_out_rows_of_which_none_fits_are_told(tmp_path, caplog):
    long = [{"prompt": f"{a} is ", "chosen": "yes " * 60, "rejected": "no"} for a in range(3)]
    _, held = prepared(PAIRS, tmp_path, eval=long, overlong="skip")
    assert held is None
    assert "data.eval: not one of 3 rows fits in data.max_length=64; nothing is held out" in caplog.text
    caplog.clear()
    for share in (0.3, 0.6):
        _, held = prepared([*long, PAIRS[0]], tmp_path, eval_split=share, overlong="skip")
        assert (held is None) == ("data.eval_split: not one of" in caplog.text)
    assert caplog.records  # the one row that fits is not held out with both

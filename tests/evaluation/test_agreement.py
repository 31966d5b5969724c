import numpy as np
import pytest
import torch
from tests.zoo import make, randomise

from accorda.data.batch import Segment
from accorda.evaluation import agreement as module
from accorda.evaluation.agreement import Remembered, agreement, remember
from accorda.models.attention import use_attention


def rows():
    draw = np.random.default_rng(0)
    made = []
    for number, length in enumerate((7, 4, 9)):
        ids = draw.integers(0, 60, length, dtype=np.int32)
        made.append(Segment(number, ids, np.array([False, False, *[True] * (length - 2)]), "rows.jsonl", number + 1))
    return made


def models():
    first, second = make("llama"), make("llama")
    use_attention(first)
    use_attention(second)
    randomise(second, 5)
    return first, second


def test_equals_the_formula_written_again():
    first, second = models()
    kl, same, loss, count = 0.0, 0, 0.0, 0
    with torch.no_grad():
        for row in rows():
            ids = torch.tensor(row.input_ids).long()[None]
            p, q = (torch.log_softmax(model(ids).logits[0], -1) for model in (first, second))
            for position in range(1, len(row) - 1):
                kl += float((p[position].exp() * (p[position] - q[position])).sum())
                same += int(p[position].argmax() == q[position].argmax())
                loss -= float(q[position, int(row.input_ids[position + 1])])
                count += 1
    found = agreement(remember(first, rows()), second, rows())
    assert (found.kl, found.top1, found.loss) == pytest.approx((kl / count, same / count, loss / count), rel=1e-4)
    assert kl / count > 0.01


def test_a_model_agrees_with_itself():
    first, _ = models()
    live = remember(first, rows())
    found = agreement(live, first, rows())
    assert found.kl == pytest.approx(0, abs=1e-7)
    assert found.top1 == 1
    assert found.loss == pytest.approx(live.loss)


def test_rounding_makes_no_negative_divergence():
    """Sums of fp32 log-probabilities that are a little below one, as softmax gives them."""
    first, _ = models()
    live = remember(first, rows())
    found = agreement(Remembered(live.log_probs_NV - 1e-6, live.labels_N, live.rows), first, rows())
    assert found.kl == 0


def test_no_more_is_kept_than_there_is_room_for(monkeypatch):
    first, second = models()
    whole = agreement(remember(first, rows()[:1]), second, rows()[:1])
    monkeypatch.setattr(module, "MOST_NUMBERS", 6 * first.config.vocab_size)
    live = remember(first, rows())
    assert live.rows == 1
    assert agreement(live, second, rows()) == whole

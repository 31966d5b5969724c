"""Scores of labels against the formulas, written naively."""

import math

import pytest
import torch

from accorda.objectives.classification import label_scores


def test_a_class_scores_its_log_probability():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]])
    found = label_scores(logits, torch.tensor([1.0, 2.0])).tolist()
    total = math.exp(2) + math.exp(0) + math.exp(-1)
    assert found == pytest.approx([math.log(1 / total), math.log(1 / 3)])


def test_a_number_scores_minus_its_squared_error():
    assert label_scores(torch.tensor([[2.0], [0.5]]), torch.tensor([0.5, 0.5])).tolist() == [-2.25, 0.0]


def test_half_precision_is_widened():
    logits = torch.tensor([[8.0, 0.0]], dtype=torch.bfloat16)
    assert label_scores(logits, torch.tensor([1.0])).dtype == torch.float32
    assert label_scores(logits[:, :1], torch.tensor([1.0])).dtype == torch.float32

import math

import pytest
import torch

from accorda.training.self_test import judged, self_test


def test_a_step_works_here_and_the_threads_are_as_before():
    threads, found = torch.get_num_threads(), self_test()
    assert found.wrong == ""
    assert found.after < found.before < 2 * math.log(256)
    assert torch.get_num_threads() == threads


def test_a_broken_optimizer_is_found(monkeypatch):
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)
    assert self_test().wrong == "no trained tensor moved"


@pytest.mark.parametrize(
    ("before", "after", "moved", "wrong"),
    [
        (2.0, 1.0, {"a"}, ""),
        (math.nan, 1.0, {"a"}, "the loss is nan before"),
        (2.0, 1.0, {"a", "b"}, "a frozen tensor changed: b"),
        (2.0, 2.5, {"a"}, "the loss rose from 2.0000 to 2.5000"),
        (2.0, 1.0, set(), "no trained tensor moved"),
    ],
)
def test_what_a_step_must_not_do(before, after, moved, wrong):
    assert judged(before, after, moved, {"a", "c"}).startswith(wrong)
    assert bool(judged(before, after, moved, {"a", "c"})) == bool(wrong)

import torch

from accorda.training import memory
from accorda.training.memory import PeakMemory


def test_counts_what_was_in_use_at_most_and_not_what_was_there_before() -> None:
    before = torch.ones(30_000_000)
    peak = PeakMemory("cpu")
    small = peak.bytes()
    used = torch.ones(25_000_000)  # 100 MB
    del used
    assert small < 50e6
    assert 95e6 < peak.bytes() < 150e6
    assert before.sum() == 30_000_000


def test_without_proc_the_largest_resident_size_serves(monkeypatch) -> None:
    monkeypatch.setattr(memory, "_status", lambda field: None)
    monkeypatch.setattr(memory, "_largest_resident", iter([100, 170]).__next__)
    assert PeakMemory("cpu").bytes() == 70

import os
import signal
import threading

import pytest
import torch

from accorda.training.guard import Interrupted, Signals, is_disk_full, is_out_of_memory


def test_a_signal_is_noted_and_obeyed_at_the_next_check_only() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Signals() as signals:
        signals.check()
        os.kill(os.getpid(), signal.SIGTERM)
        done = 1 + 1
        with pytest.raises(Interrupted, match="SIGTERM"):
            signals.check()
    assert done == 2
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_second_ctrl_c_is_obeyed_at_once() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == "Ctrl-C"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_work_that_may_be_cut_short_is() -> None:
    went_on = []

    def work(signals: Signals) -> None:
        with signals.at_once():
            os.kill(os.getpid(), signal.SIGTERM)
            went_on.append("after the signal")

    with Signals() as signals:
        for _ in range(2):  # the second begins although a signal had come
            with pytest.raises(Interrupted):
                work(signals)
    assert went_on == []


def test_in_another_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with Signals() as signals:
            signals.check()
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_memory_and_disk_are_told_apart() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shape"))
    assert is_disk_full(OSError(28, "No space left on device"))
    assert not is_disk_full(OSError(2, "No such file"))
    wrapped = RuntimeError("saving")
    wrapped.__cause__ = OSError(122, "Disk quota exceeded")
    assert is_disk_full(wrapped)
    assert not is_disk_full(caught.value)

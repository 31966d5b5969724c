"""The largest memory a run had in use, measured the same way everywhere. Bytes; a GB is 1e9 of them."""

import resource
import sys
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Counts from its making: the allocator's peak on CUDA; on CPU the resident high-water mark less the size at first.

    Make it after the imports and before the model is loaded: what the libraries themselves take is not the run's.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self._from = 0
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            _reset_high_water()
            self._from = _status("VmRSS") or _largest_resident()

    def bytes(self) -> int:
        """The peak so far."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return max(0, (_status("VmHWM") or _largest_resident()) - self._from)


def _reset_high_water() -> None:
    """Let the high-water mark begin anew where the system allows it."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return


def _status(field: str) -> int | None:
    """A field of Linux' process status in bytes; None where there is none."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)


def _largest_resident() -> int:
    """The largest resident size since the process began."""
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024

"""Where a run's time goes and how far its products are from the machine's own: `accorda train --profile`."""

from accorda.training.profile.profiler import Profiler

__all__ = ["Profiler"]

"""transformers' progress bars and warnings kept off our users' screen while we call it; we report in our own words."""

from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR, getLogger

from huggingface_hub.utils import are_progress_bars_disabled
from transformers.utils import logging


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, transformers logs errors only and draws no progress bars; what was set before comes back."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    silent = are_progress_bars_disabled()
    kernels = getLogger("bitsandbytes")  # tells at its import which of its kernels are not here; ours say what they use
    level = kernels.level
    kernels.setLevel(ERROR)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        kernels.setLevel(level)
        logging.set_verbosity(verbosity)
        if bars and not silent:
            logging.enable_progress_bar()

"""transformers' progress bars and warnings kept off our users' screen while we call it; we report in our own words."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.utils import are_progress_bars_disabled
from transformers.utils import logging


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, transformers logs errors only and draws no progress bars; what was set before comes back."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    silent = are_progress_bars_disabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars and not silent:
            logging.enable_progress_bar()

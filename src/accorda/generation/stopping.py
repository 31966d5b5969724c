"""Where a completion ends: the token ids after which nothing belongs to it any more."""

from collections.abc import Iterable
from typing import Any


def stop_ids(model: Any, tokenizer: Any = None, extra: Iterable[int] = ()) -> frozenset[int]:
    """Every id that ends a completion, from whatever declares one.

    The end-of-text ids of the model's generation settings, config and tokenizer; their beginning-of-text id, since a
    model that writes it has begun another document (some pretrained models end texts with nothing else); and `extra`,
    such as the end-of-turn tokens of a chat template. An encoder-decoder's answer may begin with the beginning of text
    (BART's does), so that ends nothing there.
    """
    config = getattr(model, "config", None)
    names = ("eos_token_id",) if getattr(config, "is_encoder_decoder", False) else ("eos_token_id", "bos_token_id")
    sources = (getattr(model, "generation_config", None), config, tokenizer)
    named = [getattr(source, name, None) for source in sources for name in names]
    return frozenset(identity for value in [*named, *extra] for identity in _ids(value))


def _ids(value: Any) -> Iterable[int]:
    """None, an id or several ids, as ids."""
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)

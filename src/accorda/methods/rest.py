"""Reasons for which a trainable tensor may stay where it is, that lie in the model and not in a method."""

from transformers import PreTrainedModel

from accorda.models.roles import sites

KEYS = ("attention.key", "cross_attention.key")


def shift_of_keys(name: str, model: PreTrainedModel) -> str | None:
    """The reason if `name`, a module or a parameter of one, is a key projection on which a shift has no effect.

    q . (k + c) adds the same to the score of every key, and softmax ignores it; unless positions rotate the keys or a
    norm follows them.
    """
    keys = {site.name for site in sites(model) if site.role in KEYS and site.rows is None}
    if name not in keys and name.rpartition(".")[0] not in keys:
        return None
    names = [type(module).__name__ for module in model.modules()]
    if any("Rotary" in name for name in names) or any(path.endswith(".k_norm") for path, _ in model.named_modules()):
        return None
    return "a shift common to all keys leaves attention unchanged: this model neither rotates nor normalises keys"

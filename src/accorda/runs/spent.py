"""Where a run's time went: the parts of a profile in their order, with what each of them is."""

from collections.abc import Mapping
from typing import Any

PARTS = {
    "products": "matrix products of linear layers and adapters, forward and backward",
    "attention": "its scores, softmax and products",
    "loss": "the head's products and the softmax over the vocabulary, with their gradient",
    "other operators": "norms, activations, casts, sums, copies",
    "between operators": "Python between them",
    "optimizer": "clipping and the update",
    "sampling": "the answers of stage rl, by this process or by a server",
    "rewards": "judging them",
    "scores": "passes over them: reference, values, and the policy's, which may be the one it then learns by",
    "data": "rows to tokens, tokens to batches",
    "proofs": "before, during and after the steps",
    "evaluation": "the rows set apart, and answers to look at",
    "files": "checkpoints and the result",
    "start": "opening the model, checks before the first step",
    "this profile": "recording steps, which takes memory too, and measuring the machine",
}


def parts(profile: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Name, seconds and share of all of every part that took time; empty where there is no profile."""
    seconds = profile.get("seconds") or {}
    whole = sum(seconds.values()) or 1.0
    return [(name, seconds[name], seconds[name] / whole) for name in PARTS if seconds.get(name)]


def reached(profile: Mapping[str, Any]) -> str:
    """The products of a step beside what the machine reaches, as a sentence; nothing where that is not known."""
    peak, found = profile.get("peak_flops_per_second"), profile.get("flops_per_second")
    if not peak or found is None:
        return ""
    threads = profile.get("threads")
    on = f" on {threads} thread{'s' * (threads != 1)}" if threads else ""
    return (
        f"{rate(found)} over whole steps, {found / peak:.0%} of the {rate(peak)} that a plain product in "
        f"{profile.get('precision')} reaches here{on}"
    )


def rate(flops: float) -> str:
    """FLOPs per second."""
    sign, factor = next(((s, f) for s, f in (("T", 1e12), ("G", 1e9), ("M", 1e6)) if flops >= f), ("", 1.0))
    return f"{flops / factor:.3g} {sign}FLOP/s"

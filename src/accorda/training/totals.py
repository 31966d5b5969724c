"""What the events of a run add up to."""

from typing import Any


def totals(log: list[dict[str, Any]]) -> dict[str, Any]:
    """What the events of a whole run, resumed or not, add up to.

    steps; loss of the last step; the metrics of the evaluation that gave the result, and its step; tokens, supervised
    tokens, seconds of the steps alone, tokens per second; the largest memory in bytes.
    """
    steps = [event for event in log if event["event"] == "step"]
    evaluations = {event["step"]: event for event in log if event["event"] == "evaluation"}
    chosen = next(
        (event["step"] for event in reversed(log) if event["event"] == "best"), max(evaluations, default=None)
    )
    metrics = {} if chosen is None else evaluations.get(chosen, {})
    tokens, seconds = sum(event["tokens"] for event in steps), sum(event["seconds"] for event in steps)
    return {
        "steps": len(steps),
        "tokens": tokens,
        "supervised_tokens": sum(event["supervised_tokens"] for event in steps),
        "train_seconds": seconds,
        "tokens_per_second": tokens / seconds if seconds else 0.0,
        "peak_memory_bytes": max((event["memory"] or 0 for event in steps), default=0),
        "loss": steps[-1]["loss"] if steps else None,
        "evaluated_step": chosen,
        **{name: value for name, value in metrics.items() if name not in ("event", "step", "samples")},
    }

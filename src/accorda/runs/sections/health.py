"""How a policy fared while it learned: curves of rewards, distance and lengths, and every sign with its verdict."""

from typing import Any

from accorda.runs.curves import Chart, Line
from accorda.runs.figures import short
from accorda.runs.markup import table, text
from accorda.runs.story import Story, is_number

LEAD = "A sign beyond its bound stops nothing; what its sentence names is where to look first."
CHARTS = (
    ("Reward", "of sampled answers", ("reward/score", "reward/kept")),
    ("Distance from the reference", "nats per answer", ("kl/seq",)),
    ("Length", "tokens per answer", ("len/mean",)),
    ("Answers that end", "share of sampled answers", ("len/eos_rate",)),
    ("Staleness", "steps from sampling to learning", ("rollout/staleness",)),
    ("Sampler against training", "nats per token", ("rollout_vs_train/abs_logp_diff",)),
    ("Entropy", "nats per token", ("policy/entropy",)),
    ("Value model", "share of the returns' variance explained", ("value/explained_var",)),
)
NAMES = {"reward/score": "reward", "reward/kept": "reward of what is learned"}


def health(story: Story) -> str:
    """The signs of the last step, those that were beyond their bounds at some step first."""
    seen: dict[str, dict[str, Any]] = {}
    for event in story.events:
        for told in event.get("health") or ():
            if isinstance(told, dict) and is_number(told.get("value")):
                known = seen.setdefault(str(told.get("sign")), {"alarms": 0, "first": None, "says": ""})
                known |= {"last": told}
                if told.get("verdict") == "alarm":
                    known["alarms"] += 1
                    known["first"] = known["first"] if known["first"] is not None else event.get("step")
                    known["says"] = told.get("says", "")
    ordered = sorted(seen.items(), key=lambda item: -item[1]["alarms"])
    head = ("sign", "now", "bound", "verdict", "what it says")
    rows = [(text(name), *cells(known)) for name, known in ordered]
    return curves(story) + table(head, rows, "checks") if rows else ""


def cells(known: dict[str, Any]) -> tuple[str, str, str, str]:
    """The last value, its bound, how often it was beyond it and since when, and the sentence."""
    last, number = known["last"], known["alarms"]
    verdict = "well" if not number else f"alarm at {number} of the steps, first at step {known['first']}"
    bound = last.get("bound")
    return (
        text(short(last["value"])),
        text(short(bound) if is_number(bound) else ""),
        text(verdict),
        text(known["says"]),
    )


def curves(story: Story) -> str:
    """Charts over the phases; of what is watched, too."""
    steps = [step for event in story.events if is_number(step := event.get("step"))]
    if not steps:
        return ""
    watched = {
        key for event in story.events for key in event if key.startswith("watched/") and not key.endswith("/std")
    }
    drawn = [*CHARTS, *((key, "only watched", (key,)) for key in sorted(watched))]
    figures = []
    for title, unit, keys in drawn:
        lines = [Line(name=NAMES.get(key) or str(title), points=story.series("step", key), jumps=True) for key in keys]
        lines = [line for line in lines if line.points]
        if lines:
            html = Chart(title=title, unit=unit, lines=lines, steps=(min(steps), max(steps))).html()
            figures += [html] if html else []
    return f'<div class="charts">{"".join(figures)}</div>' if figures else ""

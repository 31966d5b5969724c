"""What somebody asks first: did it work, what was trained on what, how good is it, what did it cost."""

from pathlib import PurePath

from accorda.runs.figures import duration, number, share, short, size
from accorda.runs.markup import facts, text
from accorda.runs.sections.names import BESIDE, metric_name
from accorda.runs.story import Story, interval, is_number

MOST_SCORES = 5


def headline(story: Story) -> str:
    """Name, verdict, one sentence, the metrics before and after, the costs."""
    name = story.folder.path.resolve().name
    kind, words, more = verdict(story)
    return (
        f'<header>\n<p class="brand">accorda <span>run report</span></p>\n<h1>{text(name)}</h1>\n'
        f'<p class="verdict {kind}"><b>{text(words)}:</b> {text(more)}</p>\n'
        f'<p class="sentence">{sentence(story)}</p>\n{scores(story)}{facts(costs(story))}\n</header>'
    )


def verdict(story: Story) -> tuple[str, str, str]:
    """Class, word and explanation of how the run stands."""
    failed = [str(proof.get("name")) for proof in story.proofs if proof.get("verdict") == "fails"]
    if failed:
        reasons = [str(proof.get("reason") or "") for proof in story.proofs if proof.get("verdict") == "fails"]
        return "bad", "Not proven", f"{', '.join(failed)} {'fail' if failed[1:] else 'fails'}: {reasons[0]}"
    if not story.result:
        steps = story.series("step", "loss")
        last = f"after step {steps[-1][0]:g}" if steps else "before the first step"
        if reason := story.stopped():
            return (
                "open",
                "Stopped",
                f"{reason.removeprefix('stopped ')}. It can be resumed; this page shows what is there so far.",
            )
        return "open", "Not finished", f"{last}; this page shows what is there so far."
    holding = sum(proof.get("verdict") == "holds" for proof in story.proofs)
    if not holding:
        return "open", "Complete", "without proofs in its folder"
    other = len(story.proofs) - holding
    rest = f", {other} {'does' if other == 1 else 'do'} not apply" if other else ""
    return "good", "Proven", f"{holding} {'proof holds' if holding == 1 else 'proofs hold'}{rest}"


def sentence(story: Story) -> str:
    """What was trained on what, in words."""
    method, stage = story.setting("method.name"), story.setting("stage")
    rank = story.setting("method.rank")
    what = f"<b>{text(method or 'A method')}</b>{f' of rank {text(rank)}' if rank else ''}"
    base = PurePath(story.base).name or story.base
    rows = (story.result.get("rows") or story.rows_of("train").get("rows") or {}).get("kept")
    source = ", ".join(PurePath(path).name for path in sources(story)) or story.setting("data.train")
    steps = story.result.get("steps") or len(story.series("step", "loss"))
    parts = [
        f"{what} on <b>{text(base)}</b>{parameters(story)}",
        f"{f'{number(rows)} rows of ' if is_number(rows) else ''}<b>{text(source)}</b>" if source or rows else "",
        f"{number(steps)} optimizer steps" if steps else "",
        epochs(story),
        f"stage {text(stage)}" if stage else "",
    ]
    return " · ".join(part for part in parts if part)


def sources(story: Story) -> list[str]:
    """The files of the training rows."""
    listed = story.rows_of("train").get("sources") or []
    return [str(item.get("file")) for item in listed[:3]] + (["..."] if len(listed) > 3 else [])


def parameters(story: Story) -> str:
    """The size of the base."""
    found = (story.environment.get("base") or {}).get("num_parameters")
    return f" ({short(found)} parameters)" if is_number(found) else ""


def epochs(story: Story) -> str:
    """How often every row was to be seen, unless steps were counted."""
    value = story.setting("training.epochs")
    if not value or story.setting("training.max_steps", "null") != "null":
        return ""
    return f"{text(value)} epoch{'' if value == '1' else 's'}"


def scores(story: Story) -> str:
    """Each metric before and after, with its interval."""
    found = story.evaluations()
    if not found:
        return ""
    last, first = story.chosen(), found[0]
    begun = first if first["step"] == 0 and last["step"] != 0 else {}
    names = [name for name in story.metrics() if is_number(last.get(name)) and name not in BESIDE]
    return f'<div class="scores">{"".join(score(name, begun, last) for name in names[:MOST_SCORES])}</div>\n'


def score(name: str, begun: dict[str, object], last: dict[str, object]) -> str:
    """One metric: the value, its interval, where it began, and all three drawn on a line."""
    value, before, both = last[name], begun.get(name), interval(last, name)
    assert is_number(value)
    told = [f"before {digits(before)}"] if is_number(before) else []
    told += [f"95% interval {digits(both[0])} to {digits(both[1])}"] if both and both[0] < both[1] else []
    lines = "".join(f"<span>{text(line)}</span>" for line in told)
    return (
        f'<div class="score"><h3>{text(metric_name(name))}</h3><p class="value">{digits(value)}</p>'
        f"{track(value, before if is_number(before) else None, both)}{lines}</div>"
    )


def digits(value: float) -> str:
    """A measure of three digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def track(value: float, before: float | None, both: tuple[float, float] | None) -> str:
    """A line with a ring where the metric began, a dot where it ended and a bar for the interval."""
    if before is None or before == value:
        return ""
    known = [value, before, *(both or ())]
    low, high = min(known), max(known)
    wide = (high - low) or 1.0

    def at(position: float) -> str:
        return f"{4 + 92 * (position - low) / wide:.1f}%"

    bar = ""
    if both:
        bar = (
            f'<rect class="range" x="{at(both[0])}" y="5" width="{92 * (both[1] - both[0]) / wide:.1f}%" height="10"/>'
        )
    return (
        f'<svg class="track" height="20" aria-hidden="true">'
        f'<line x1="{at(before)}" x2="{at(value)}" y1="10" y2="10"/>{bar}'
        f'<circle class="from" cx="{at(before)}" cy="10" r="4.5"/><circle cx="{at(value)}" cy="10" r="5"/></svg>'
    )


def costs(story: Story) -> list[tuple[str, str]]:
    """Parameters, time, tokens, memory: of the result, or of the steps so far."""
    found = {**so_far(story), **{name: value for name, value in story.result.items() if is_number(value)}}
    trained, seconds, tokens = (found.get(name) for name in ("trainable_parameters", "train_seconds", "tokens"))
    learned, peak = found.get("supervised_tokens"), found.get("peak_memory_bytes")
    base = (story.environment.get("base") or {}).get("num_parameters")
    of_base = f" <small>{share(trained, base)} of the base</small>" if is_number(base) and trained else ""
    learned_share = f" <small>{share(learned, tokens)} learned</small>" if learned and tokens else ""
    return [
        ("trained parameters", number(trained) + of_base if trained else ""),
        ("training time", duration(seconds) if seconds else ""),
        ("tokens", number(tokens) + learned_share if tokens else ""),
        ("throughput", f"{number(round(tokens / seconds))} tokens/s" if tokens and seconds else ""),
        ("peak memory", size(peak) if peak else ""),
        ("device", text(story.environment.get("device") or "")),
    ]


def so_far(story: Story) -> dict[str, float]:
    """What the steps in the log add up to."""
    pairs = (("train_seconds", "seconds"), ("tokens", "tokens"), ("supervised_tokens", "supervised_tokens"))
    sums = {name: sum(value for _, value in story.series("step", key)) for name, key in pairs}
    return {**sums, "peak_memory_bytes": max((value for _, value in story.series("step", "memory")), default=0.0)}

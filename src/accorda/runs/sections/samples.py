"""Before and after: held-out prompts answered by the base and by the tuned model, side by side."""

from typing import Any

from accorda.runs.markup import folded, text
from accorda.runs.story import Story

LONG = 420
"""Characters of a prompt that are shown before the rest is folded away."""
Answer = dict[str, Any]


def samples(story: Story) -> str:
    """A card per prompt: from `samples.json`, or from the evaluations of a run that did not come to its end."""
    found = story.samples.get("samples") or []
    cards = [card(item, told(item)) for item in found if isinstance(item, dict)] or drawn_while_training(story)
    error = story.samples.get("error")
    note = f'<p class="note">No answers: {text(error)}</p>' if error and not cards else ""
    return "".join(cards) or note


def lead(story: Story) -> str:
    """What the prompts are, and why the base is not among the answers where it is not."""
    return " ".join(filter(None, (asked(story), text(story.samples.get("note") or ""))))


def asked(story: Story) -> str:
    """What the prompts are."""
    if story.samples.get("labelled"):
        held = story.samples.get("rows") != "trained on"
        return f"{'Held-out rows' if held else 'Rows that were trained on'}, and the label they were given."
    if story.samples.get("rows") == "trained on":
        return "No rows were held out, so these prompts were trained on. Answers are greedy."
    return "Held-out prompts. Answers are greedy, and cut off where they grow far longer than the reference."


def told(item: dict[str, Any]) -> list[tuple[str, Answer]]:
    """The titles and texts of a sample's answers."""
    answers = [("base", item.get("base")), ("tuned", item.get("tuned"))]
    return [(name, answer) for name, answer in answers if isinstance(answer, dict)]


def drawn_while_training(story: Story) -> list[str]:
    """The same prompts at the first and at the last evaluation that has samples."""
    drawn = [event for event in story.events if isinstance(event.get("samples"), list) and event["samples"]]
    if not drawn:
        return []
    first = {str(item.get("prompt")): item for item in drawn[0]["samples"] if isinstance(item, dict)}
    cards = []
    for item in drawn[-1]["samples"]:
        if isinstance(item, dict):
            then = first.get(str(item.get("prompt")), {}) if len(drawn) > 1 else {}
            pairs = ((f"step {drawn[0].get('step')}", then), (f"step {drawn[-1].get('step')}", item))
            cards.append(card(item, [(name, written(one)) for name, one in pairs if one]))
    return cards


def written(item: dict[str, Any]) -> Answer:
    """An answer of an evaluation."""
    return {"text": item.get("completion"), "stopped": item.get("stopped", True)}


def card(item: dict[str, Any], answers: list[tuple[str, Answer]]) -> str:
    """One prompt with its reference and the answers."""
    reference = str(item.get("reference") or "")
    columns = [column("reference", {"text": reference, "stopped": True}, "")] if reference else []
    last = len(answers) - 1
    columns += [column(name, answer, reference, tuned=at == last) for at, (name, answer) in enumerate(answers)]
    return (
        f'<article class="sample"><div class="prompt"><h3>prompt</h3>{prompt(str(item.get("prompt") or ""))}</div>\n'
        f'<div class="answers">{"".join(columns)}</div></article>\n'
    )


def prompt(words: str) -> str:
    """The prompt, its middle folded away where it is long."""
    if len(words) <= LONG:
        return f'<div class="text">{text(words)}</div>'
    half = LONG // 2
    ends = f'{text(words[:half].rstrip())} <span class="cut">…</span>\n{text(words[-half:].lstrip())}'
    return f'<div class="text">{ends}</div>' + folded("the whole prompt", f'<div class="text">{text(words)}</div>')


def column(name: str, answer: Answer, reference: str, *, tuned: bool = False) -> str:
    """One answer; a sign where it is the reference, and where it was cut off."""
    words = str(answer.get("text") or "")
    same = bool(reference) and " ".join(words.split()) == " ".join(reference.split())
    sign = ' <span class="same">as the reference</span>' if same else ""
    body = text(words.strip()) if words.strip() else '<span class="cut">(nothing)</span>'
    end = "" if answer.get("stopped", True) else ' <span class="cut" title="cut off here">…</span>'
    kind = "answer tuned" if tuned else "answer"
    return f'<div class="{kind}"><h3>{text(name)}{sign}</h3><div class="text">{body}{end}</div></div>'

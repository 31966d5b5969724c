"""The commands to go on with."""

import shlex

from accorda.runs.markup import code, text
from accorda.runs.story import Story

LONGEST_PROMPT = 72
SILENT = ("reward", "classify")  # stages whose models write no answers
MEASURED = {  # what `eval` tells of a run, by stage
    "reward": "how often it agrees with held-out labels, with an interval",
    "preference": "how often it agrees with held-out labels, with an interval",
    "classify": "its labels beside the held-out ones, with an interval",
    "rl": "the reward of held-out answers, before and after, with intervals",
}
BASE_AND_TUNED = "the base, the base shown examples, and the tuned model, with intervals"


def onwards(story: Story) -> str:
    """The commands with what they do."""
    items = "".join(f"<div><dt>{code(command)}</dt><dd>{text(says)}</dd></div>" for command, says in commands(story))
    return f'<dl class="commands">{items}</dl>'


def commands(story: Story) -> list[tuple[str, str]]:
    """For a finished run: try, talk, measure, prove, fold in. For another: resume."""
    run = shlex.quote(str(story.folder.path))
    rows = [(f"accorda resume {run}", "go on from the last checkpoint; the result is the uninterrupted run's")]
    if story.result:
        stage = str(story.setting("stage"))
        held_out = bool(story.rows_of("eval"))
        rows = [(f"accorda eval {run}", MEASURED.get(stage, BASE_AND_TUNED))] if held_out else []
        if stage not in SILENT:
            rows[:0] = [
                (f"accorda generate {run} --prompt {shlex.quote(asked(story))}", "one answer"),
                (f"accorda chat {run}", "talk to it; base and tuned model can be switched"),
            ]
        rows.append((f"accorda verify {run}", "every proof again, from the files"))
    if merges(story):
        rows += [(f"accorda merge {run} --output MERGED", "the adapter folded into its base")]
    return rows


def merges(story: Story) -> bool:
    """Whether the run ended with an adapter that its base's weights can hold."""
    return bool(story.result) and story.folder.adapter.is_dir() and story.result.get("mergeable", True)


def asked(story: Story) -> str:
    """A prompt of the run that fits on a line, or a placeholder."""
    samples = [item for item in story.samples.get("samples") or () if isinstance(item, dict)]
    found = [str(item.get("prompt") or "").strip() for item in samples]
    fitting = [words for words in found if words.isprintable() and 0 < len(words) <= LONGEST_PROMPT]
    return fitting[0] if fitting else "..."

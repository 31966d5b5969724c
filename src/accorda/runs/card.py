"""The README of an adapter: what it was made from, how to load it, what was proven."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accorda.runs.files import read_json
from accorda.runs.story import Story, interval, tell

LOAD = """\
## Use

```sh
accorda generate {adapter} --prompt "..."
```
"""
LOAD_PEFT = """
```python
from peft import PeftModel
from transformers import {auto}

model = PeftModel.from_pretrained({auto}.from_pretrained({base!r}), {adapter!r})
```
"""
LOAD_CLASSIFIER = """
```python
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

labels = {labels!r}
base = AutoModelForSequenceClassification.from_pretrained({base!r}, id2label=labels)
model = PeftModel.from_pretrained(base, {adapter!r})
```
"""
AUTO = {"SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM"}
"""transformers' class for a base, by the task that PEFT names."""


def card(path: str | Path, result: Mapping[str, Any] | None = None) -> str:
    """Markdown with the front matter that the Hugging Face hub reads, from what the run folder holds."""
    story = tell(path, result)
    base = story.base
    adapter = story.folder.adapter
    config = read_json(adapter / "adapter_config.json") or {}
    for_peft = "peft_type" in config and "accorda" not in config  # our header stands there in our own format
    use = LOAD.format(adapter=adapter.name) + (load_peft(story, base, config) if for_peft else "")
    parts = [
        front_matter(base, "peft" if for_peft else "accorda"),
        heading(story, base),
        use,
        results(story),
        proofs(story),
        settings(story),
    ]
    return "\n".join(part for part in parts if part)


def load_peft(story: Story, base: str, config: Mapping[str, Any]) -> str:
    """How PEFT loads it; a classifier with the names of its classes."""
    names = (read_json(story.folder.path / "renderer.json") or {}).get("labels")
    if names is None:
        auto = AUTO.get(str(config.get("task_type")), "AutoModelForCausalLM")
        return LOAD_PEFT.format(base=base, adapter=story.folder.adapter.name, auto=auto)
    labels = dict(enumerate(names or ["number"]))
    return LOAD_CLASSIFIER.format(base=base, adapter=story.folder.adapter.name, labels=labels)


def front_matter(base: str, library: str) -> str:
    """The hub's keys; a path of this machine is no `base_model` there and stays out."""
    on_hub = base.count("/") == 1 and not base.startswith((".", "/", "~")) and not Path(base).exists()
    model = [f"base_model: {base}"] if on_hub else []
    return "\n".join(["---", f"library_name: {library}", *model, "tags:", "- accorda", "---", ""])


def heading(story: Story, base: str) -> str:
    """One sentence of what this is."""
    method, stage = story.setting("method.name", "adapter"), story.setting("stage", "sft")
    return f"# {cell(story.folder.path.name)}\n\nAn adapter ({cell(method)}, stage {cell(stage)}) for `{base}`.\n"


def results(story: Story) -> str:
    """The numbers of the run."""
    wanted = ("steps", "loss", "eval_loss", "tokens", "supervised_tokens", "trainable_parameters", "train_seconds")
    wanted += tuple(name for name in story.metrics() if name not in wanted)
    rows = [
        (
            name,
            f"{story.result[name]:,.6g}",
            " to ".join(f"{bound:,.4g}" for bound in interval(story.result, name) or ()),
        )
        for name in wanted
        if isinstance(story.result.get(name), int | float)
    ]
    return table("Results", ("what", "value", "95% interval"), rows)


def proofs(story: Story) -> str:
    """What was proven, and what was not."""
    rows = [(str(item.get("name")), str(item.get("verdict")), str(item.get("reason") or "")) for item in story.proofs]
    return table("Proofs", ("proof", "verdict", "reason"), rows)


def settings(story: Story) -> str:
    """The settings that somebody or something decided; defaults are in the recipe."""
    rows = [(item.name, item.value, item.origin) for item in story.settings if item.origin != "default"]
    return table("Settings", ("setting", "value", "from"), rows)


def table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table under a heading; nothing where there are no rows."""
    if not rows:
        return ""
    lines = [head, tuple("---" for _ in head), *(tuple(cell(value) for value in row) for row in rows)]
    return f"## {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def cell(text: str) -> str:
    """Text that cannot leave its cell or become markup."""
    escaped = "".join(f"\\{sign}" if sign in "\\`*_[]|<>#" else sign for sign in text)
    return " ".join(escaped.split())

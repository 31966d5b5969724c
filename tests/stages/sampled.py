"""Prompts, rewards and recipes that the tests of stage rl share."""

from pathlib import Path
from typing import Any

from tests.stages.runs import with_sections, write_rows
from tests.zoo import tiny_model_folder

ASKED = [{"prompt": f"{a} plus {b} is ", "answer": str(a + b)} for a in range(8) for b in range(4)]
REWARDS = """
def vowels(completion):
    return sum(completion.count(letter) for letter in "aeiou") / 4 - len(completion) / 40

def known(prompt, completion, answer):
    return float(answer in completion) + len(completion) / 100

def moody(completion, prompt):
    if prompt.startswith("3"):
        raise ValueError("no threes")
    return float("nan") if prompt.startswith("4") else len(completion) / 10
"""


def settings(
    place: Path, name: str = "run", *, architecture: str = "llama", rows: Any = ASKED, **sections: Any
) -> dict[str, Any]:
    """A recipe of a few steps on a tiny model; sections are merged into it."""
    model = place / architecture
    if not model.is_dir():
        tiny_model_folder(place, architecture)
    (place / "rewards.py").write_text(REWARDS, encoding="utf-8")
    recipe: dict[str, Any] = {
        "stage": "rl",
        "model": {"path": str(model)},
        "data": {"train": str(write_rows(place / f"{name}.jsonl", rows)), "eval_split": 0.2},
        "method": {"name": "lora", "rank": 2},
        "rollout": {"num_generations": 4, "max_new_tokens": 6},
        "reward": f"{place / 'rewards.py'}:vowels",
        "training": {"learning_rate": 0.01, "batch_size": 4, "max_steps": 4, "checkpoint_every": 2, "threads": 1},
        "evaluation": {"every": 2},
        "output": str(place / name),
    }
    return with_sections(recipe, sections)

"""What both sides of `rl_vs_trl` are told."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS = int(os.environ.get("RL_STEPS", "4"))
PAIRS, PROMPTS, GENERATIONS, NEW_TOKENS = 4, 2, 8, 48
PRECISIONS = {"dpo": "fp32"}  # bf16 for the others
RATE = 1e-4
ALGORITHMS: dict[str, dict[str, Any]] = {
    "dpo": {"beta": 0.1},
    "grpo": {"kl_coef": 0.0},
    "rloo": {"kl_coef": 0.05},
    "ppo": {"kl_coef": 0.05, "num_epochs": 2, "num_minibatches": 1},
}
REWARD = """
def score(prompt, completion):
    return completion.count("e") / 10
"""


def precision(case: str) -> str:
    """Of the base and of products."""
    return PRECISIONS.get(case, "bf16")


def dtype(case: str) -> Any:
    """The same as torch's."""
    import torch

    return torch.float32 if precision(case) == "fp32" else torch.bfloat16


def reward_file(place: Path) -> None:
    """The reward as our side takes it."""
    (place / "rewards.py").write_text(REWARD, encoding="utf-8")


def score() -> Callable[[str, str], float]:
    """The same as a function."""
    found: dict[str, Any] = {}
    exec(REWARD, found)
    return found["score"]

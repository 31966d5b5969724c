"""Is a run of stage rl well? A verdict on each sign, with its bound and a sentence, at every step.

A sign beyond its bound stops nothing: people decide. What they would look for first is what the sentence says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accorda.rl.contract import Memory

MOST_KL, LEAST_KL = 30.0, -1.0
MOST_RATIO, MOST_CLIPPED = 10.0, 0.3
LEAST_ENTROPY = 0.02
LONGER, SHORTER = 3.0, 0.25
LEAST_ENDED, MOST_EQUAL, MOST_FAILED = 0.1, 0.9, 0.1
MOST_DIFFERENCE = 0.02
MOST_STALE = 32  # optimizer steps
SMOOTH = 0.8  # of a mean that runs along, what stays of it at every phase
RISEN, FALLEN = 0.5, -0.25  # of the first phase's spread
FIRST_LENGTH = "health/first_length"


@dataclass(frozen=True)
class Sign:
    """What is looked at: the number of the step, its bounds, and the sentence where it is beyond them."""

    name: str
    figure: str
    says: str
    least: float | None = None
    most: float | None = None

    def verdict(self, value: float) -> dict[str, Any]:
        """For the log."""
        fine = (self.least is None or value >= self.least) and (self.most is None or value <= self.most)
        bound = self.most if self.most is not None and (self.least is None or value > self.least) else self.least
        told = {"sign": self.name, "value": value, "bound": bound, "verdict": "well" if fine else "alarm"}
        return told if fine else {**told, "says": self.says}


SIGNS = (
    Sign(
        "distance",
        "kl/seq",
        "answers are far from what the reference would say; raise algorithm.kl_coef or lower the learning rate",
        most=MOST_KL,
    ),
    Sign(
        "distance below zero",
        "kl/seq",
        "no distance is negative: answers were sampled otherwise than they are scored",
        least=LEAST_KL,
    ),
    Sign(
        "ratio",
        "policy/ratio_max",
        "a step made a sampled token many times as likely as it was; lower the learning rate or algorithm.num_epochs",
        most=MOST_RATIO,
    ),
    Sign(
        "clipped",
        "policy/clipfrac",
        "so many tokens are clipped that the phase's later updates learn little; lower the learning rate",
        most=MOST_CLIPPED,
    ),
    Sign(
        "entropy",
        "policy/entropy",
        "the policy is sure of every token and tries nothing any more; raise algorithm.kl_coef or begin again earlier",
        least=LEAST_ENTROPY,
    ),
    Sign(
        "length",
        "len/of_first",
        "answers are much longer or shorter than at first; look whether the reward pays for length",
        least=SHORTER,
        most=LONGER,
    ),
    Sign(
        "ends",
        "len/eos_rate",
        "hardly an answer ends by itself; raise rollout.max_new_tokens, or set rollout.missing_eos_penalty",
        least=LEAST_ENDED,
    ),
    Sign(
        "spread in groups",
        "reward/equal_groups",
        "in nearly all groups every answer is worth the same, which teaches nothing; take prompts that are harder or "
        "easier, or more answers of each",
        most=MOST_EQUAL,
    ),
    Sign(
        "failed rewards",
        "reward/failed_share",
        "many answers could not be judged; the log names their prompts",
        most=MOST_FAILED,
    ),
    Sign(
        "rollout against training",
        "rollout_vs_train/abs_logp_diff",
        "tokens have another probability in training than where they were sampled; compare precision and temperature",
        most=MOST_DIFFERENCE,
    ),
    Sign(
        "staleness",
        "rollout/staleness",
        "answers are learned from that many steps after the weights that gave them; lower algorithm.num_epochs or "
        "algorithm.num_minibatches",
        most=MOST_STALE,
    ),
)


def verdicts(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The verdicts on what a step tells; a sign without a number has none."""
    return [sign.verdict(float(figures[sign.figure])) for sign in SIGNS if sign.figure in figures]


def length_of_first(figures: Mapping[str, Any], memory: Memory) -> float:
    """The length of answers in terms of the first phase's."""
    first = memory.numbers.setdefault(FIRST_LENGTH, float(figures["len/mean"]))
    return float(figures["len/mean"]) / max(first, 1.0)


def hacked(figures: Mapping[str, Any], memory: Memory) -> list[dict[str, Any]]:
    """Whether what is rewarded rises while what is only watched falls, in means that run along.

    A watched reward has the weight 0: a costly judge, or people's own measure. Both are taken in units of the spread
    they had in the first phase.
    """
    found = []
    proxy = drift("reward", figures, memory)
    for name in [key for key in figures if key.startswith("watched/") and not key.endswith("/std")]:
        watched = drift(name, figures, memory)
        if proxy is None or watched is None:
            continue
        told = {"sign": f"hacking ({name})", "value": watched, "bound": FALLEN}
        if proxy > RISEN and watched < FALLEN:
            says = (
                f"the reward has risen by {proxy:.1f} of its first spread while {name} has fallen by {-watched:.1f}: "
                "answers please the reward and not what it stands for; stop at an earlier checkpoint or raise "
                "algorithm.kl_coef"
            )
            found.append({**told, "verdict": "alarm", "says": says})
        else:
            found.append({**told, "verdict": "well"})
    return found


AWAY = Sign(
    "held-out distance",
    "kl",
    "held-out answers are far from what the reference would say; raise algorithm.kl_coef (or beta), or lower the "
    "learning rate",
    most=MOST_KL,
)


def held_out(values: Mapping[str, Any], memory: Memory) -> list[dict[str, Any]]:
    """How far held-out answers are from the reference, and whether their reward falls while that of others rises."""
    far = [AWAY.verdict(float(values[AWAY.figure]))] if AWAY.figure in values else []
    return far + falling(values, memory)


def falling(values: Mapping[str, Any], memory: Memory) -> list[dict[str, Any]]:
    """Whether the reward of answers that are learned from rises while that of held-out answers falls."""
    numbers = memory.numbers
    if values.get("reward") is None:
        return []
    first = numbers.setdefault("health/held_out/first", float(values["reward"]))
    if "health/reward/spread" not in numbers:  # before the first phase
        return []
    unit = numbers["health/reward/spread"]
    proxy = (numbers["health/reward/running"] - numbers["health/reward/first"]) / unit
    apart = (float(values["reward"]) - first) / unit
    told = {"sign": "held-out reward", "value": apart, "bound": FALLEN}
    if proxy > RISEN and apart < FALLEN:
        says = (
            f"the reward of what is learned from has risen by {proxy:.1f} of its first spread while that of held-out "
            f"answers has fallen by {-apart:.1f}; use more prompts, or stop at an earlier checkpoint"
        )
        return [{**told, "verdict": "alarm", "says": says}]
    return [{**told, "verdict": "well"}]


def drift(name: str, figures: Mapping[str, Any], memory: Memory) -> float | None:
    """How far the running mean of a reward has come from the first phase's, in units of its spread there."""
    mean = figures.get("reward/score" if name == "reward" else name)
    spread = figures.get(f"{name}/std")
    if mean is None or spread is None:
        return None
    numbers = memory.numbers
    first = numbers.setdefault(f"health/{name}/first", float(mean))
    unit = numbers.setdefault(f"health/{name}/spread", max(float(spread), 1e-6))
    running = SMOOTH * numbers.get(f"health/{name}/running", first) + (1 - SMOOTH) * float(mean)
    numbers[f"health/{name}/running"] = running
    return (running - first) / unit

"""How answers are sampled: the recipe's section `rollout`."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

from accorda.recipe.types import NonNegativeFloat, PositiveInt


@dataclass(frozen=True, kw_only=True)
class RolloutSettings:
    """The recipe's section `rollout`. Top k and top p are not among it: what is left out would have no probability."""

    num_generations: PositiveInt = 8
    """Completions of each prompt."""
    max_new_tokens: PositiveInt = 128
    """The longest completion."""
    temperature: Annotated[float, Gt(0)] = 1.0
    """Of sampling, and of every log-probability that is learned from."""
    missing_end_penalty: NonNegativeFloat = 0.0
    """Taken from the reward of a completion that was cut off before it ended."""
    batch_size: PositiveInt = 64
    """Completions that are sampled at once; changes speed and memory only."""

"""How answers are sampled: the recipe's section `rollout`."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Gt

from accorda.recipe.types import NonNegativeFloat, PositiveFloat, PositiveInt, Text

BACKEND = "backend"
"""Under which the metadata of a field names the one backend that has a use for it."""
OF_HTTP = {BACKEND: "http"}


@dataclass(frozen=True, kw_only=True)
class RolloutSettings:
    """The recipe's section `rollout`. Top k and top p are not among it: what is left out would have no probability."""

    num_generations: PositiveInt = 8
    """Completions of each prompt."""
    max_new_tokens: PositiveInt = 128
    """The longest completion."""
    temperature: Annotated[float, Gt(0)] = 1.0
    """Of sampling, and of every log-probability that is learned from; online_dpo and rejection_sampling learn at 1."""
    missing_eos_penalty: NonNegativeFloat = 0.0
    """Taken from the reward of a completion that was cut off before it ended."""
    batch_size: PositiveInt = 64
    """Completions that are sampled at once; changes speed and memory only."""
    backend: Text = "torch"
    """Who samples: torch, this process; http, a server as vLLM is one, which is handed every phase's adapter."""
    url: Text | None = field(default=None, metadata=OF_HTTP)
    """Of http: the server, as http://host:8000. Its key is sent from the variable ACCORDA_ROLLOUT_KEY."""
    model: Text | None = field(default=None, metadata=OF_HTTP)
    """Of http: what the server calls the policy's base, where it serves several."""
    folder: Text | None = field(default=None, metadata=OF_HTTP)
    """Of http: where adapters are put, which the server reads, too; in the run's folder if none is named."""
    timeout: PositiveFloat = field(default=600.0, metadata=OF_HTTP)
    """Of http: seconds that the answers to one prompt may take."""

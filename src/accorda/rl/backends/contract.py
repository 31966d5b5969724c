"""What samples a policy's answers: it is told of new weights, and asked for completions with log-probabilities."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from transformers import PreTrainedModel

from accorda.generation.sample import Completion
from accorda.rl.settings import RolloutSettings


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Prompts to be answered.

    model: the policy. prompts: token ids of each. seeds: what the random numbers of each prompt's answers are made
    from. stop_ids: what ends an answer. tokenizer: makes text of answers, None where nobody reads it.
    """

    model: PreTrainedModel
    prompts: Sequence[Sequence[int]]
    seeds: Sequence[tuple[int, ...]]
    settings: RolloutSettings
    stop_ids: frozenset[int]
    tokenizer: Any


class Backend(ABC):
    """Samples from a policy.

    Args:
        settings: of the rollout.
        folder: where files for whoever samples may be put; it need not exist.
    """

    elsewhere: ClassVar[bool] = False
    """Whether another process samples, whose weights may be others and which need not give the same answers again."""

    def __init__(self, settings: RolloutSettings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.version = 0
        """How many optimizer steps made the weights that are sampled from."""

    @staticmethod
    @abstractmethod
    def check(settings: RolloutSettings, origin: Callable[[str], str]) -> None:
        """Refuse settings that do not go together; `origin` says where one came from."""

    @abstractmethod
    def require_fit(self, model: PreTrainedModel, max_length: int) -> None:
        """Refuse a policy that it cannot sample from, or not as many tokens."""

    def update(self, model: PreTrainedModel, version: int) -> None:
        """Sample from the policy as it is now from here on: what that many optimizer steps made."""
        self.version = version

    @abstractmethod
    def generate(self, asked: Asked) -> list[Completion]:
        """`num_generations` completions of each prompt, in the prompts' order, with `drawn_log_probs`.

        Raises:
            Unreachable: who samples is not there, or gives what cannot be learned from.
        """

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind."""

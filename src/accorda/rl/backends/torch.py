"""The policy answers here, in the process that trains it."""

from collections.abc import Callable

from transformers import PreTrainedModel

from accorda.generation.sample import Completion, generate
from accorda.rl.backends.contract import Asked, Backend
from accorda.rl.settings import RolloutSettings


class Here(Backend):
    """The random numbers of an answer are its own: neither the batch nor what is answered beside it changes it."""

    @staticmethod
    def check(settings: RolloutSettings, origin: Callable[[str], str]) -> None:
        """Any settings do."""

    def require_fit(self, model: PreTrainedModel, max_length: int) -> None:
        """What trains it can sample from it."""

    def generate(self, asked: Asked) -> list[Completion]:
        settings = asked.settings
        return generate(
            asked.model,
            asked.prompts,
            tokenizer=asked.tokenizer,
            stop_ids=asked.stop_ids,
            num_samples=settings.num_generations,
            seeds=asked.seeds,
            batch_size=max(settings.num_generations, settings.batch_size),
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
        )

    def close(self) -> None:
        """Nothing is held."""


BACKEND = Here

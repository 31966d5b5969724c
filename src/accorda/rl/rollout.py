"""A policy answers prompts: several completions of each, sampled at a temperature from the whole vocabulary.

The random numbers of a completion are made from (seed, phase, prompt, number of the completion) alone: neither the
batch nor what is answered beside it changes it, and a resumed run samples the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from accorda.data.batch import Segment
from accorda.data.prompts.experience import Sample, sample
from accorda.generation.sample import Completion, generate
from accorda.rl.settings import RolloutSettings


@dataclass(frozen=True, eq=False)
class Answer:
    """One completion. `reward` is None until it is judged, and where judging it failed."""

    sample: Sample
    completion: Completion
    reward: float | None = None


@dataclass(frozen=True, eq=False)
class Group:
    """A prompt with its completions."""

    prompt: Segment
    answers: Sequence[Answer] = field(default_factory=tuple)


def rollout(
    model: Any,
    prompts: Sequence[Segment],
    settings: RolloutSettings,
    *,
    tokenizer: Any,
    stop_ids: frozenset[int],
    seed: tuple[int, ...],
) -> list[Group]:
    """`settings.num_generations` completions of each prompt, in the prompts' order.

    A completion's ids are all that were sampled, the one that ended it among them; their text leaves that one out.
    """
    number = settings.num_generations
    completions = generate(
        model,
        [prompt.input_ids.tolist() for prompt in prompts],
        tokenizer=tokenizer,
        stop_ids=stop_ids,
        num_samples=number,
        seeds=[(*seed, prompt.index) for prompt in prompts],
        batch_size=max(number, settings.batch_size),
        max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
    )
    return [
        Group(
            prompt,
            [Answer(sample(prompt, one.token_ids), one) for one in completions[place * number : (place + 1) * number]],
        )
        for place, prompt in enumerate(prompts)
    ]

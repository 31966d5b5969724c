"""A policy answers prompts: several completions of each, sampled at a temperature from the whole vocabulary.

The random numbers of a completion are made from (seed, phase, prompt, number of the completion) alone: neither the
batch nor what is answered beside it changes it, and a resumed run samples the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from accorda.data.batch import Segment
from accorda.data.prompts.experience import Sample, sample
from accorda.generation.sample import Completion
from accorda.rl.backends.contract import Asked, Backend


@dataclass(frozen=True, eq=False)
class Answer:
    """One completion. `reward` is None until it is judged, and where judging it failed."""

    sample: Sample
    completion: Completion
    reward: float | None = None


@dataclass(frozen=True, eq=False)
class Group:
    """A prompt with its completions. `version`: how many optimizer steps made the weights that sampled them."""

    prompt: Segment
    answers: Sequence[Answer] = field(default_factory=tuple)
    version: int = 0


def answers_of(groups: Sequence[Group]) -> list[Answer]:
    """All of them, in the groups' order."""
    return [answer for group in groups for answer in group.answers]


def with_answers(groups: Sequence[Group], answers: Sequence[Answer]) -> list[Group]:
    """The groups with these answers in place of theirs, as many and in the same order."""
    given = iter(answers)
    return [replace(group, answers=[next(given) for _ in group.answers]) for group in groups]


def rollout(backend: Backend, asked: Asked, prompts: Sequence[Segment]) -> list[Group]:
    """`num_generations` completions of each prompt, in the prompts' order.

    A completion's ids are all that were sampled, the one that ended it among them; their text leaves that one out.
    """
    completions, number = backend.generate(asked), asked.settings.num_generations
    return [
        Group(
            prompt,
            [answer(prompt, one) for one in completions[place * number : (place + 1) * number]],
            backend.version,
        )
        for place, prompt in enumerate(prompts)
    ]


def answer(prompt: Segment, completion: Completion) -> Answer:
    """A completion that nobody has judged, with what the sampler said of its tokens."""
    drawn = torch.tensor(completion.drawn_log_probs, dtype=torch.float32)
    return Answer(sample(prompt, completion.token_ids, drawn_log_probs=drawn), completion)

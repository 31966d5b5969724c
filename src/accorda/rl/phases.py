"""The micro-batches of stage rl, made by the policy itself: prompts answered, judged, and what that teaches.

A pure function of the step and of what the loop's state holds: a phase begins with the parameters as they are, all
random numbers are made from its number, and what its later updates still need is part of the state.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from accorda.data.batch import Batch, Segment
from accorda.data.dataset import Dataset
from accorda.data.order import keys
from accorda.data.prompts.experience import Experience, PromptBatches, Sample, with_told
from accorda.data.sampler import Batches
from accorda.errors import Refusal
from accorda.methods.stepping import extra_loss
from accorda.models.heap import give_back
from accorda.models.packed import packed_linears
from accorda.rl.backends.contract import Asked, Backend
from accorda.rl.backends.registry import backends
from accorda.rl.backends.torch import Here
from accorda.rl.contract import Algorithm, Memory, PolicyAlgorithm
from accorda.rl.figures import distances, figures, watched
from accorda.rl.health import hacked, length_of_first, verdicts
from accorda.rl.kept_rows import keep_rows, kept_rows
from accorda.rl.reward import Reward, Said
from accorda.rl.rollout import Answer, Group, answers_of, rollout, with_answers
from accorda.rl.settings import RolloutSettings
from accorda.training.checkpoint import State
from accorda.training.objective import Making
from accorda.training.parts import Part, unwatched
from accorda.training.policy import Policy
from accorda.training.precision import Precision

Figures = dict[str, Any]
logger = logging.getLogger(__name__)
FEW, MOST = 2, 4  # prompts, and the shortest of their answers, that proofs look at
PROBE = (1 << 32) + 1  # in place of a phase's number


@dataclass(kw_only=True, eq=False)
class Phases(Making):
    """Phase after phase.

    model: the policy. prompts: which of them each phase answers, and how rows share forward passes. algorithm: what is
    learned from answers. objective: the loop's. reward: judges answers. settings: of the rollout. tokenizer: makes text
    of answers, None where nobody reads it. stop_ids: what ends an answer. seed: of all random numbers. beside: ordinary
    rows that every step learns, too. backend: who samples. version: of the weights that sampled what is learned from.
    """

    model: PreTrainedModel
    prompts: PromptBatches
    algorithm: Algorithm
    objective: Any
    reward: Reward
    settings: RolloutSettings
    tokenizer: Any
    stop_ids: frozenset[int]
    precision: Precision
    seed: int = 0
    beside: Batches | None = None
    backend: Backend = field(default_factory=lambda: Here(RolloutSettings(), Path()))
    memory: Memory = field(default_factory=Memory)
    before: dict[str, float] = field(default_factory=dict)
    current: int | None = None
    rows: list[Any] = field(default_factory=list)
    told: Figures = field(default_factory=dict)
    version: int = 0
    timed: Part = unwatched

    @property
    def phase(self) -> int | None:
        return self.current

    @property
    def identity(self) -> Mapping[str, str]:
        found = {"reward": self.reward.identity}
        if self.beside is not None:
            assert isinstance(self.beside.dataset, Dataset)
            found["algorithm.ptx_data"] = self.beside.dataset.hash
        return found

    def frozen(self) -> Mapping[str, torch.Tensor]:
        return self.reward.frozen

    @property
    def unrepeatable(self) -> str:
        elsewhere = backends()[self.settings.backend].elsewhere
        return "answers are a server's, which need not give the same again" if elsewhere else ""

    def stay_here(self) -> None:
        self.backend = Here(self.settings, Path())

    def close(self) -> None:
        self.backend.close()

    @property
    def needs_scores(self) -> bool:
        """Whether the algorithm asks what policy and reference say of every token before it learns from the answers."""
        return isinstance(self.objective, Policy) and self.objective.learns.needs_scores

    @property
    def dataset(self) -> Any:
        """The prompts."""
        return self.prompts.dataset

    def together(self, segments: Sequence[Segment]) -> Batch:
        """Prompts in a batch of the shapes that are learned from."""
        return self.prompts.filled(segments)

    def at(self, step: int) -> list[Batch]:
        """The micro-batches of optimizer step `step`, counted from 0."""
        phase, update = divmod(step, self.algorithm.updates)
        if self.current != phase:
            self.rows, self.told = self.make(phase)
            self.current = phase
        found = self.algorithm.micro_batches(self.prompts, self.part(phase, update))
        if self.beside is None or not found:
            return found
        return found + [replace(batch, num_supervised=0, num_tokens=0) for batch in self.beside.at(step)]

    def few(self) -> tuple[list[Segment], list[Batch]]:
        numbers = dict(self.memory.numbers)
        prompts = [self.dataset[int(row)] for row in self.prompts.rows(0)[:FEW]]
        with self.precision.autocast():
            groups = self.judged(self.answered(prompts, (self.seed, PROBE)))
            groups = self.scored(groups)[0] if isinstance(self.objective, Policy) else groups
        rows = sorted(self.algorithm.experience(groups, self.memory), key=len)[:MOST]
        self.memory.numbers = numbers
        parts = [part for part in (rows[:1], rows[1:]) if part]
        return rows, [made for part in parts for made in self.algorithm.micro_batches(self.prompts, part)]

    def part(self, phase: int, update: int) -> list[Any]:
        """The rows that one update of a phase learns: all of them, or a minibatch of a pass in its own order."""
        if not isinstance(self.algorithm, PolicyAlgorithm) or self.algorithm.updates == 1:
            return self.rows
        epoch, number = divmod(update, self.algorithm.num_minibatches)
        order = np.argsort(keys(self.seed, phase * self.algorithm.num_epochs + epoch, np.arange(len(self.rows))))
        return [self.rows[int(place)] for place in np.array_split(order, self.algorithm.num_minibatches)[number]]

    def make(self, phase: int) -> tuple[list[Any], Figures]:
        """A new phase: answers, their rewards, what they teach, and what there is to tell of it."""
        began, self.before = perf_counter(), dict(self.memory.numbers)
        step = phase * self.algorithm.updates
        prompts = [self.dataset[int(row)] for row in self.prompts.rows(step)]
        with self.precision.autocast():
            with self.timed("sampling"):
                groups = self.answered(prompts, (self.seed, phase), version=step)
            self.version = groups[0].version
            sampled = perf_counter() - began
            with self.timed("rewards"):
                groups = self.judged(groups)
        told = figures(groups) | watched(self.reward)
        if phase == 0:
            require_some(groups, told, self.reward)
        if self.model.device.type == "cpu" and (self.current is None or packed_linears(self.model)):
            give_back()  # holes that answering leaves, which learning would not fill (docs/decisions/056)
        with self.precision.autocast():  # of its own: casts that sampling made have no gradient
            if self.needs_scores:
                with self.timed("scores"):
                    groups, more = self.scored(groups, keep=learns_once(self.algorithm, self.model))
                told |= more
            self.memory.figures = {}
            rows = self.algorithm.experience(groups, self.memory)
        told["len/of_first"] = length_of_first(told, self.memory)
        told["hacking"] = hacked(told, self.memory)
        told |= {**self.memory.figures, "rollout/seconds": sampled, "phase/seconds": perf_counter() - began}
        return rows, told

    def answered(
        self,
        prompts: Sequence[Segment],
        seed: tuple[int, ...],
        settings: RolloutSettings | None = None,
        version: int | None = None,
    ) -> list[Group]:
        """The prompts with the policy's answers, by the weights of that version; without one they are sampled here.

        A completion's random numbers are made from (seed, prompt, its number) alone.
        """
        backend = Here(self.settings, Path()) if version is None else self.backend
        backend.update(self.model, version or 0)
        asked = Asked(
            model=self.model,
            prompts=[prompt.input_ids.tolist() for prompt in prompts],
            seeds=[(*seed, prompt.index) for prompt in prompts],
            settings=settings or self.settings,
            stop_ids=self.stop_ids,
            tokenizer=self.tokenizer,
        )
        return rollout(backend, asked, prompts)

    def judged(self, groups: Sequence[Group], dataset: Any = None) -> list[Group]:
        """The answers with their rewards, None where there is none; to prompts of a data set, else of the run's own."""
        rows = self.dataset if dataset is None else dataset
        found = iter(self.reward.judge([said(rows, one) for one in answers_of(groups)]))
        penalty = self.settings.missing_eos_penalty
        return with_answers(groups, [rewarded(one, next(found), penalty) for one in answers_of(groups)])

    def scored(self, groups: Sequence[Group], *, keep: bool = False) -> tuple[list[Group], Figures]:
        """The answers with what the policy, its reference and its value model say of every token.

        With `keep` the policy's pass is the one that is learned from, where one pass takes them all.
        """
        samples = [one.sample for one in answers_of(groups) if one.reward is not None]
        objective = self.objective
        assert isinstance(objective, Policy)
        found: list[Sample] = list(samples)
        lengths = [len(one) for one in samples]
        together = list(self.prompts.grouped(lengths)) if samples else []
        for places in together:
            batch = self.prompts.joined([samples[place] for place in places])
            told_each = told_of(objective, self.model, batch, keep=keep and len(together) == 1)
            for place, told in zip(places, told_each, strict=True):
                found[place] = with_told(samples[place], **told)
        again = iter(found)
        every = [one if one.reward is None else replace(one, sample=next(again)) for one in answers_of(groups)]
        return with_answers(groups, every), distances(every, objective.has_reference)

    def figures(self, told: Mapping[str, Any]) -> Figures:
        found, self.told = self.told, {}
        found |= {"rollout/version": self.version, "rollout/staleness": told["step"] - 1 - self.version}
        health = verdicts({**told, **found}) + found.pop("hacking", [])
        return {**found, "health": health}

    def state(self) -> State:
        begun = not self.told  # a phase that no step has learned from yet is made again
        numbers = self.memory.numbers if begun else self.before
        lasts = begun and self.algorithm.updates > 1
        state = State(values={"phase": self.current if lasts else None, "memory": dict(numbers), "rows": []})
        state.values["version"] = self.version
        if lasts:
            keep_rows(state, self.rows)
        return state

    def load_state(self, state: State) -> None:
        self.memory.numbers = dict(state.values["memory"])
        self.rows = kept_rows(state, self.dataset)
        self.current, self.version = state.values["phase"], state.values["version"]
        self.told = {}


def learns_once(algorithm: Algorithm, model: PreTrainedModel) -> bool:
    """Whether the pass that scores is learned from. Beside a loss of the method's own gradients add up otherwise."""
    return algorithm.updates == 1 and extra_loss(model) is None


def require_some(groups: Sequence[Group], told: Figures, reward: Reward) -> None:
    """Refuse a reward that could judge none of the first answers, as it would not later ones; tell where all are alike.

    told: the figures of these answers.
    """
    answers = answers_of(groups)
    if all(one.reward is None for one in answers):
        raise Refusal(
            f"reward: none of the first {len(answers)} answers could be judged, so nothing can be learned; the first: "
            f"{reward.trouble or 'no finite number'}"
        )
    if not told["reward/std"]:
        logger.warning(
            "reward: all answers of the first phase got %g, so there is nothing to learn from them; where that goes "
            "on, nothing will have moved: reward what answers differ in",
            told["reward/score"],
        )


def told_of(
    objective: Policy, model: PreTrainedModel, batch: Experience, *, keep: bool
) -> list[dict[str, torch.Tensor]]:
    """What policy, reference and value model say of the sampled tokens of each row."""
    found = objective.scored(model, batch, keep=keep)
    columns = {"old_log_probs": found.log_probs}
    if objective.has_reference:
        columns["reference_log_probs"] = objective.referred(model, batch)
    if found.values is not None:
        columns["values"] = found.values
    parts = {name: value.split(list(batch.learned)) for name, value in columns.items()}
    return [{name: part[row] for name, part in parts.items()} for row in range(len(batch.learned))]


def rewarded(answer: Answer, reward: float, missing_eos_penalty: float) -> Answer:
    """The answer with its reward, less what being cut off costs; without one where that is no finite number."""
    if not math.isfinite(reward):
        return replace(answer, reward=None)
    return replace(answer, reward=reward - (0.0 if answer.completion.stopped else missing_eos_penalty))


def said(dataset: Any, answer: Answer) -> Said:
    """An answer as a reward is given it."""
    index = answer.sample.index
    if not isinstance(dataset, Dataset):
        return Said("", answer.completion.text, answer.sample)
    example = dataset.example(index)
    turns: list[dict[str, Any]] = [{"role": turn.role, "content": turn.content} for turn in example.messages]
    prompt = example.prompt if example.prompt is not None else turns
    return Said(prompt, answer.completion.text, answer.sample, example.columns)

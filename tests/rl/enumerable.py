"""A world small enough to know its optimum: five tokens, answers of at most five, every answer's probability exact.

    best(y) = reference(y) exp(r(y) / beta) / Z,   J(policy) = E r - beta KL(policy, reference),   J(best) = beta log Z

`gap` is what is left of the way from J(reference) to J(best): 0 is the optimum, 1 has learned nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from accorda.data.batch import Segment
from accorda.data.prompts.experience import PromptBatches
from accorda.methods.install import freeze, install, trainable
from accorda.methods.registry import read
from accorda.methods.routing import use
from accorda.rl.contract import Algorithm
from accorda.rl.phases import Phases
from accorda.rl.reward import Reward, Said
from accorda.rl.settings import RolloutSettings
from accorda.training.loop import Loop
from accorda.training.objective import StepObjective
from accorda.training.optimizers.groups import parameter_groups
from accorda.training.precision import Precision

ACTIONS, END, LONGEST = 4, 4, 5
Score = Callable[[Sequence[int]], float]


def answers() -> list[tuple[int, ...]]:
    """All 1365 of them: what ends with the end token, and what is cut off."""
    ended = [(*start, END) for length in range(LONGEST) for start in product(range(ACTIONS), repeat=length)]
    return ended + list(product(range(ACTIONS), repeat=LONGEST))


def token_count(answer: Sequence[int]) -> float:
    """How often token 0 stands there, less one where the answer does not end."""
    return answer.count(0) - (END not in answer)


def length_target(answer: Sequence[int]) -> float:
    """How near the answer's length is to three tokens."""
    return -abs(len(answer) - (END in answer) - 3) - 2.0 * (END not in answer)


def positions(answer: Sequence[int]) -> float:
    """One for token 1 at the second place and 2 at the fourth together: a credit that comes late."""
    return 3.0 * (len(answer) > 3 and answer[1] == 1 and answer[3] == 2)


class Scored(Reward):
    """A score of the sampled ids."""

    def __init__(self, score: Score):
        self.score = score

    @property
    def identity(self) -> str:
        return self.score.__name__

    def judge(self, answers: Sequence[Said]) -> list[float]:
        return [self.score(tuple(one.sample.input_ids[one.sample.supervised].tolist())) for one in answers]


class Prompts:
    """The same prompts again and again, as rows."""

    def __init__(self, prompts: Sequence[Sequence[int]]):
        self.prompts = [np.array(prompt, np.int32) for prompt in prompts]
        self.lengths = np.array([len(prompt) for prompt in self.prompts])
        self.encoder_lengths = np.zeros(len(prompts), np.int64)

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, index: int) -> Segment:
        ids = self.prompts[index]
        return Segment(index, ids, np.zeros(len(ids), np.bool_), "world", index)


def model_of(seed: int, dropout: float = 0.0) -> LlamaForCausalLM:
    """One block of width 32; its head says something from the start."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=5,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32,
        bos_token_id=None,
        eos_token_id=END,
        pad_token_id=None,
        attention_dropout=dropout,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    torch.nn.init.normal_(model.lm_head.weight, std=0.25)
    return model


@dataclass
class World:
    """A policy in training, and what there is to know of it."""

    model: LlamaForCausalLM
    loop: Loop
    phases: Phases
    score: Score
    prompts: Prompts
    steps: int

    @torch.no_grad()
    def log_probs(self, prompt: Sequence[int], reference: bool = False) -> Tensor:
        """Of every answer to a prompt, (1365,), exactly."""
        every = answers()
        ids = torch.tensor([[*prompt, *one, *[0] * (LONGEST - len(one))] for one in every])
        learned = torch.tensor([[1] * len(one) + [0] * (LONGEST - len(one)) for one in every])
        training = self.model.training
        self.model.eval()
        if reference:
            with use(self.model, None):
                logits = self.model(ids).logits
        else:
            logits = self.model(ids).logits
        self.model.train(training)
        start = len(prompt) - 1
        scores = torch.log_softmax(logits[:, start:-1].double() / self.phases.settings.temperature, -1)
        return (scores.gather(-1, ids[:, len(prompt) :, None])[..., 0] * learned).sum(-1)

    def gap(self, beta: float, prompt: Sequence[int] = (END,)) -> float:
        """What is left of the way to the optimum."""
        rewards = torch.tensor([float(self.score(one)) for one in answers()], dtype=torch.float64)
        policy, reference = self.log_probs(prompt), self.log_probs(prompt, reference=True)
        assert all(math.isclose(float(one.exp().sum()), 1, abs_tol=1e-5) for one in (policy, reference))
        top = beta * float(torch.logsumexp(reference + rewards / beta, 0))
        value, start = (float((one.exp() * (rewards - beta * (one - reference))).sum()) for one in (policy, reference))
        return (top - value) / (top - start)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a world is made."""

    score: Score = token_count
    seed: int = 0
    episodes: int = 256
    generations: int = 8
    steps: int = 100
    rate: float = 2e-3
    prompts: Sequence[Sequence[int]] = ((END,),)
    packed: bool = False
    micro_tokens: int = 1 << 20
    temperature: float = 1.0


def world(algorithm: Algorithm, model: LlamaForCausalLM | None = None, **settings: Any) -> World:
    """Everything that one run needs; `loop.step` makes its steps, `updates` for each of `steps` phases."""
    given = Setting(**settings)
    model = model or model_of(given.seed)
    install(freeze(model), read({"name": "full"}))
    rollout = RolloutSettings(
        num_generations=given.generations,
        max_new_tokens=LONGEST,
        temperature=given.temperature,
        batch_size=given.episodes,
    )
    number = given.episodes // given.generations
    rows = Prompts([given.prompts[place % len(given.prompts)] for place in range(number)])
    batches = PromptBatches(
        rows,
        num_generations=given.generations,
        max_new_tokens=LONGEST,
        updates=algorithm.updates,
        paired=algorithm.paired,
        batch_size=number,
        micro_tokens=given.micro_tokens,
        packed=given.packed,
    )
    objective = algorithm.objective(model, rollout)
    own = objective.own_parameters() if isinstance(objective, StepObjective) else {}
    phases = Phases(
        model=model,
        prompts=batches,
        algorithm=algorithm,
        objective=objective,
        reward=Scored(given.score),
        settings=rollout,
        tokenizer=None,
        stop_ids=frozenset({END}),
        precision=Precision(),
        seed=given.seed,
    )
    total = given.steps * algorithm.updates
    loop = Loop(
        model=model,
        objective=objective,
        batches=phases,
        optimizer=torch.optim.Adam(parameter_groups(trainable(model) | own), eps=1e-5),
        schedule=lambda step: given.rate * (1 - step / total),
    )
    loop.carried = phases
    return World(model, loop, phases, given.score, rows, given.steps)


def learn(world: World, steps: int) -> list[dict[str, Any]]:
    """So many phases' steps; what they told."""
    return [world.loop.step() for _ in range(steps * world.phases.algorithm.updates)]


@dataclass(frozen=True)
class Case:
    """An algorithm with the settings under which its optimum is the one that is known."""

    algorithm: str
    settings: dict[str, Any]
    world: dict[str, Any]


BETA = 0.5
FOUR = {"num_epochs": 2, "num_minibatches": 2}  # updates of a phase
CASES = {
    "rloo": Case("rloo", {"kl_coef": BETA, **FOUR}, {"steps": 100}),
    "reinforce": Case("reinforce", {"kl_coef": BETA, **FOUR}, {"steps": 100}),
    "ppo": Case("ppo", {"kl_coef": BETA, **FOUR}, {"steps": 100}),
    "grpo": Case(
        "grpo",
        {"kl_coef": BETA, "kl_estimator": "k2_sequence", "scale_rewards": "rloo", "aggregation": "dr_grpo"},
        {"steps": 200},
    ),
}
BOUNDS = {"rloo": 0.01, "reinforce": 0.05, "ppo": 0.04, "grpo": 0.03}

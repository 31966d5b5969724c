"""Rejection sampling: of several answers to a prompt the best ones are learned as if somebody had written them.

Dong et al., "RAFT" (2023), arXiv:2304.06767, algorithm 1; Touvron et al., "Llama 2" (2023), arXiv:2307.09288, section
3.2.3.

    loss = -log policy(o) of the `keep` answers of highest reward, a mean over their tokens

With `keep` 1 the policy is drawn towards the best of n of itself, phase after phase. There is no reference.

Deviations: what is left of several answers that are worth the same are the ones sampled first; a prompt whose answers
are all worth the same is left out. The log-probabilities of the loss are those at temperature 1, whatever
`rollout.temperature` answers were sampled at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedModel

from accorda.data.batch import Batch
from accorda.data.prompts.experience import PromptBatches, Sample
from accorda.recipe.types import PositiveInt
from accorda.rl.advantage import judged
from accorda.rl.contract import NOWHERE, Algorithm, Memory, together
from accorda.rl.rollout import Group
from accorda.rl.settings import RolloutSettings
from accorda.training.next_token import NextToken


@dataclass(frozen=True, kw_only=True)
class RejectionSampling(Algorithm):
    """Learn the best of one's own answers."""

    paper: ClassVar[str] = "arXiv:2304.06767"

    keep: PositiveInt = 1
    """How many answers to each prompt are learned."""

    def misfit(self, rollout: RolloutSettings) -> str | None:
        if self.keep >= rollout.num_generations:
            return (
                f"algorithm.keep = {self.keep}: of rollout.num_generations = {rollout.num_generations} answers to a "
                "prompt that leaves out none, so the reward would decide nothing; keep fewer, or ask for more"
            )
        return None

    @property
    def kl_placement(self) -> str:
        return NOWHERE

    @property
    def loss_aggregation(self) -> str:
        return "every token of the answers that are kept weighs the same"

    def answers_of_update(self, num_prompts: int, num_generations: int) -> int:
        return num_prompts * self.keep

    def objective(self, model: PreTrainedModel, rollout: RolloutSettings) -> NextToken:
        return NextToken(model)

    def experience(self, groups: Sequence[Group], memory: Memory) -> list[Sample]:
        rows, kept = list[Sample](), list[float]()
        for answers in judged(groups):
            ranked = sorted(answers, key=lambda answer: -answer[1])
            if ranked and ranked[0][1] > ranked[-1][1]:
                rows += [one for one, _ in ranked[: self.keep]]
                kept += [reward for _, reward in ranked[: self.keep]]
        memory.figures = {"kept": len(rows), **({"reward/kept": sum(kept) / len(kept)} if kept else {})}
        return rows

    def micro_batches(self, prompts: PromptBatches, rows: Sequence[Sample]) -> list[Batch]:
        return list(together(prompts, rows))

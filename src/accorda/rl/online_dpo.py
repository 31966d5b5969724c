"""Online DPO: the policy's best answer to a prompt is preferred to its worst.

Guo et al., "Direct Language Model Alignment from Online AI Feedback" (2024), arXiv:2402.04792; the loss is DPO's,
Rafailov et al. (2023), arXiv:2305.18290, equation 7.

    pair = answers of highest and lowest reward;  a prompt whose answers are all worth the same teaches nothing
    loss = -log sigmoid(beta (log (policy / reference)(best) - log (policy / reference)(worst)))      mean over pairs

Deviations: the reward judges, not a language model; of more than two answers the two furthest apart are compared; the
log-probabilities of the loss are those at temperature 1, whatever `rollout.temperature` answers were sampled at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedModel

from accorda.data.batch import Batch
from accorda.data.preferences.batch import PreferenceSegment, compared
from accorda.data.prompts.experience import PromptBatches
from accorda.objectives.preference.contract import Flipped
from accorda.objectives.preference.dpo import DPO
from accorda.recipe.types import PositiveFloat
from accorda.rl.advantage import judged
from accorda.rl.contract import Algorithm, Memory
from accorda.rl.rollout import Group
from accorda.rl.settings import RolloutSettings
from accorda.training.preferring import Preferring


@dataclass(frozen=True, kw_only=True)
class OnlineDPO(Algorithm):
    """Rather the best of one's own answers than the worst."""

    paper: ClassVar[str] = "arXiv:2402.04792"
    paired: ClassVar[bool] = True

    beta: PositiveFloat = 0.1
    """How near to the reference: the larger, the nearer."""
    label_smoothing: Flipped = 0.0
    """Share of comparisons taken to be the wrong way round."""

    @property
    def needs_reference(self) -> bool:
        return True

    @property
    def kl_placement(self) -> str:
        return "in the loss (beta, as DPO's)"

    @property
    def loss_aggregation(self) -> str:
        return "every pair of answers weighs the same, each answer as one action"

    def answers_of_update(self, num_prompts: int, num_generations: int) -> int:
        return 2 * num_prompts

    def objective(self, model: PreTrainedModel, rollout: RolloutSettings) -> Preferring:
        return Preferring(DPO(beta=self.beta, label_smoothing=self.label_smoothing), model)

    def experience(self, groups: Sequence[Group], memory: Memory) -> list[PreferenceSegment]:
        rows = []
        for answers in judged(groups):
            ranked = sorted(answers, key=lambda answer: -answer[1])
            if ranked and ranked[0][1] > ranked[-1][1]:
                rows.append(compared([ranked[0][0], ranked[-1][0]], (0, 1)))
        memory.figures = {"pairs": len(rows)}
        return rows

    def micro_batches(self, prompts: PromptBatches, rows: Sequence[PreferenceSegment]) -> list[Batch]:
        lengths = [2 * max(map(len, row.answers)) for row in rows]
        return [prompts.pairs([rows[place] for place in group]) for group in prompts.grouped(lengths)]

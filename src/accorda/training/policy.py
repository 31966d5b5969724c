"""The objective of stage rl: what an algorithm says of the tokens that the policy itself sampled.

Logits are divided by the temperature that was sampled at, here as in the rollout. Nothing is dropped in any pass. The
reference is the model as it was opened, on the same base. The loss of a step is the algorithm's: how much a token
weighs is decided by counts of the whole step, so no split into micro-batches changes the gradient.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.data.batch import IGNORE_INDEX, Batch
from accorda.data.prompts.experience import Experience, flat
from accorda.errors import Refusal
from accorda.methods.composition import name_of
from accorda.methods.install import install, installed, own_tensors
from accorda.methods.routing import acting, routing, use
from accorda.models.dropout import without_dropout
from accorda.models.heads import tail_parameters
from accorda.objectives.language_model import Ahead
from accorda.objectives.policy.aggregation import Step
from accorda.objectives.policy.kl import k2
from accorda.objectives.policy.ratio import token_ratio
from accorda.training.figures import Figures
from accorda.training.next_token import NextToken, Tail, carried_back, positions_at_once, predicting
from accorda.training.objective import StepObjective
from accorda.training.preferring import reference_of
from accorda.training.scores import at_temperature, log_probs_of, sampled_log_probs, scored

VALUE = "value"
"""The name of the adapter of a value model that has one of its own."""
DIFFERENCE = "rollout_vs_train/abs_logp_diff"
"""What is told of the rollout's log-probabilities beside those of training, nats per token; its largest: _max."""


class Learns(Protocol):
    """An algorithm, as this objective needs it. Shapes: (B, T), zero behind the end of a completion."""

    @property
    def needs_scores(self) -> bool:
        """Whether answers are scored before they are learned from."""
        ...

    def policy_loss(self, log_probs: Tensor, batch: Experience, step: Step) -> Tensor:
        """A micro-batch's share of the step's loss, a scalar."""
        ...

    def value_loss(self, values: Tensor, batch: Experience, step: Step) -> Tensor:
        """The same of what a value model says, a scalar."""
        ...

    def clip_share(self, log_probs: Tensor, batch: Experience) -> Tensor | None:
        """Per token whether it gives no gradient for being clipped, (B, T); None where nothing is clipped."""
        ...


class Value:
    """A value model: one number per state, from a linear head in fp32 that starts at zero.

    It reads the policy's own hidden states; with `adapter`, those of a pass under that adapter of the same base.
    """

    def __init__(self, model: PreTrainedModel, adapter: str | None = None) -> None:
        embedding = cast(Tensor, model.get_input_embeddings().weight)
        width = getattr(model.config, "hidden_size", None) or model.config.d_model
        self.adapter = adapter
        if adapter is not None and adapter not in installed(model):
            (policy,) = acting(model)
            require_beside(model, policy)
            with use(model, None):
                install(model, installed(model)[policy], adapter, active=False)
        self.head = nn.Linear(width, 1, device=embedding.device, dtype=torch.float32)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def __call__(self, hidden_ND: Tensor) -> Tensor:
        """The value of each state, (N,)."""
        with torch.autocast(hidden_ND.device.type, enabled=False):
            return self.head(hidden_ND.float()).squeeze(-1)


@dataclass(frozen=True)
class Scored:
    """What a pass found of sampled tokens, (N,) each."""

    log_probs: Tensor
    values: Tensor | None


@dataclass(frozen=True)
class Kept:
    """A pass that scored rows and is learned from when they come again: its graph, and what it found.

    `written`: how often the parameters had been written to.
    """

    written: int
    batch: Experience
    head: Callable[[Tensor], Tensor]
    hidden_ND: Tensor
    log_probs_N: Tensor
    entropy_N: Tensor

    def is_of(self, batch: Experience, model: nn.Module) -> bool:
        """Whether these are the rows, in the same places, and the parameters what they were."""
        mine, other = self.batch.inputs(), batch.inputs()
        return (
            self.written == written(model)
            and self.batch.learned == batch.learned
            and mine.keys() == other.keys()
            and all(
                torch.equal(value, other[name]) if isinstance(value, Tensor) else value == other[name]
                for name, value in mine.items()
            )
        )


class Policy(StepObjective):
    """(model, batch) -> the algorithm's loss, times the sampled tokens of the step, by which the loop divides.

    Batches of ordinary rows beside those of sampled ones are learned as texts, with a weight of their own.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        learns: Learns,
        *,
        temperature: float,
        max_new_tokens: int,
        value: Value | None,
        reference: bool,
        text_coef: float = 0.0,
    ) -> None:
        without_dropout(model)
        self.learns, self.temperature, self.value = learns, temperature, value
        self.reference, self.has_reference = reference_of(model, needed=reference), reference
        self.text, self.text_coef, self.num_text = NextToken(model), text_coef, 0
        self.parameters = tail_parameters(model)
        self.chunk = positions_at_once(model)
        self.seen, self.largest, self.apart = Figures(), list[Tensor](), list[Tensor]()
        self.seen_text, self.seen_values = list[Tensor](), list[Tensor]()
        self.step = Step(1, 1, 1, max_new_tokens)
        self.kept: Kept | None = None

    def own_parameters(self) -> dict[str, nn.Parameter]:
        if self.value is None:
            return {}
        return {f"value.{name}": parameter for name, parameter in self.value.head.named_parameters()}

    def beside(self, model: nn.Module) -> dict[str, Tensor]:
        """What is kept of a run beside its result: the value model."""
        found: dict[str, Tensor] = dict(self.own_parameters())
        if self.value is not None and self.value.adapter is not None:
            own = own_tensors(cast(PreTrainedModel, model), self.value.adapter)
            found |= {f"adapter.{name}": tensor for name, tensor in own.items()}
        return found

    def begin(self, model: nn.Module, batches: Sequence[Batch]) -> None:
        sampled = [batch for batch in batches if isinstance(batch, Experience) and not batch.value_only]
        self.step = Step(
            sum(len(batch.learned) for batch in sampled),
            sum(batch.num_supervised for batch in batches),
            len(sampled),
            self.step.max_new_tokens,
        )
        beside = [batch for batch in batches if not isinstance(batch, Experience)]
        self.num_text = sum(int((batch.labels != IGNORE_INDEX).sum()) for batch in beside)
        self.seen, self.largest, self.apart, self.seen_text, self.seen_values = Figures(), [], [], [], []

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        if not isinstance(batch, Experience):
            loss = self.text(model, batch) / max(1, self.num_text)
            self.seen_text.append(loss.detach())
            return self.text_coef * loss * self.step.num_tokens
        model = cast(PreTrainedModel, model)
        if batch.value_only:
            return self.valued(batch, self.value_of(model, batch)) * self.step.num_tokens
        found = self.passed(model, batch)
        hidden_ND, labels_N, found_N, entropy_N = (
            found.hidden_ND,
            batch.targets()[1],
            found.log_probs_N,
            found.entropy_N,
        )
        if batch.fresh:
            batch = replace(batch, old_log_probs=found_N)
            self.seen.add({DIFFERENCE: (found_N - batch.drawn_log_probs).abs()})
            self.apart.append((found_N - batch.drawn_log_probs).abs().max())
        self.tell(batch, found_N, entropy_N)
        if torch.is_grad_enabled():
            tail = Tail(found.head, self.parameters, self.chunk)
            loss = carried_back(hidden_ND, labels_N, tail, found_N, lambda values: self.judged(batch, values))
        else:
            loss = self.judged(batch, found_N)
        if self.value is not None and self.value.adapter is None:
            loss = loss + self.valued(batch, self.value(hidden_ND))
        return loss * self.step.num_tokens

    def judged(self, batch: Experience, log_probs_N: Tensor) -> Tensor:
        """The micro-batch's share of the policy's loss."""
        return self.learns.policy_loss(batch.dense(log_probs_N), batch, self.step)

    def valued(self, batch: Experience, values_N: Tensor) -> Tensor:
        """The micro-batch's share of the value model's loss."""
        values = values_N.detach()
        self.seen.add({"value/error": (values - batch.returns).square(), "value/mean": values})
        loss = self.learns.value_loss(batch.dense(values_N), batch, self.step)
        self.seen_values.append(loss.detach())
        return loss

    def passed(self, model: PreTrainedModel, batch: Experience) -> Kept:
        """A pass over the rows: the one that scored them, where it was kept."""
        kept, self.kept = self.kept, None
        if kept is not None and torch.is_grad_enabled() and kept.is_of(batch, model):
            return kept
        del kept
        hidden_ND, labels_N = predicting(model, batch)
        head = Ahead(self.head(model)) if torch.is_grad_enabled() else self.head(model)
        return Kept(written(model), batch, head, hidden_ND, *scored(hidden_ND, labels_N, head, self.chunk))

    def scored(self, model: PreTrainedModel, batch: Experience, *, keep: bool = False) -> Scored:
        """Log-probabilities and values as the policy is now.

        With `keep` the pass will be learned from: its graph is held until the rows come to be learned, which then need
        no pass of their own. What is found is the same, bit for bit.
        """
        with torch.set_grad_enabled(keep and torch.is_grad_enabled()):
            hidden_ND, labels_N = predicting(model, batch)
        if keep:
            head = self.head(model)
            self.kept = Kept(written(model), batch, head, hidden_ND, *scored(hidden_ND, labels_N, head, self.chunk))
            found = self.kept.log_probs_N
        else:
            found = log_probs_of(hidden_ND, labels_N, self.head(model), self.chunk)
        if self.value is None:
            return Scored(found, None)
        with torch.no_grad():
            own = self.value.adapter is not None
            return Scored(found, self.value_of(model, batch) if own else self.value(hidden_ND))

    @torch.no_grad()
    def referred(self, model: PreTrainedModel, batch: Experience) -> Tensor:
        """What the reference says of every sampled token, (N,)."""
        with use(model, self.reference):
            return sampled_log_probs(model, batch, self.temperature)

    def value_of(self, model: PreTrainedModel, batch: Experience) -> Tensor:
        """What the value model says under its own adapter, (N,)."""
        assert self.value is not None
        with use(model, self.value.adapter):
            return self.value(predicting(model, batch)[0])

    def head(self, model: PreTrainedModel) -> Callable[[Tensor], Tensor]:
        """From hidden states to logits at the temperature."""
        return partial(at_temperature, model, self.temperature)

    def tell(self, batch: Experience, log_probs_N: Tensor, entropy_N: Tensor) -> None:
        """Note how far the policy is from the one that sampled."""
        self.seen.add({"policy/approxkl": k2(log_probs_N - batch.old_log_probs), "policy/entropy": entropy_N})
        self.largest.append(token_ratio(log_probs_N, batch.old_log_probs).max())
        if (clipped := self.learns.clip_share(batch.dense(log_probs_N), batch)) is not None:
            self.seen.add({"policy/clipfrac": flat(clipped, batch.learned).float()})

    def figures(self) -> dict[str, float]:
        found = self.seen.means()
        shares = {"ptx/loss": self.seen_text, "value/loss": self.seen_values}  # of means over the step's tokens
        found |= {name: float(torch.stack(parts).sum()) for name, parts in shares.items() if parts}
        most = {"policy/ratio_max": self.largest, f"{DIFFERENCE}_max": self.apart}
        return found | {name: float(torch.stack(parts).max()) for name, parts in most.items() if parts}


def require_beside(model: PreTrainedModel, policy: str) -> None:
    """Refuse a policy whose method trains the base's own parameters: a step needs them and another role's at once."""
    if any(policy in original.owners() for original in routing(model).originals):
        raise Refusal(
            f"algorithm.value = adapter: {name_of(installed(model)[policy])} trains the base's own weights, which "
            "cannot be the policy's and a value model's in one step; use algorithm.value = head"
        )


def written(model: nn.Module) -> int:
    """How often the model's parameters have been written to, all in all."""
    return sum(parameter._version for parameter in model.parameters())

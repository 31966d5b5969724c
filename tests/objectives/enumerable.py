"""A world small enough to be enumerated: every completion is known, and so is the policy that is best.

Four tokens and an end, completions of at most `LENGTH` tokens. The policy is a table: the logits of the next token for
every prefix. With reward r, reference and KL coefficient b,

    best(y) = reference(y) exp(r(y) / b) / Z,    J(policy) = E[r] - b KL(policy, reference),    J(best) = b log Z
"""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

TOKENS, END, LENGTH = 4, 4, 4


@dataclass(frozen=True)
class Completions:
    """B completions: the prefix before each token, the tokens, and which were sampled, (B, T) each."""

    states: Tensor
    actions: Tensor
    mask: Tensor


def everything() -> Completions:
    """Every completion there is, once."""
    found = [
        (*words, END) if length < LENGTH else words
        for length in range(LENGTH + 1)
        for words in product(range(TOKENS), repeat=length)
    ]
    actions = torch.tensor([[*words, *[END] * (LENGTH - len(words))] for words in found])
    lengths = torch.tensor([len(words) for words in found])
    mask = torch.arange(LENGTH) < lengths[:, None]
    return Completions(states_of(actions), actions, mask)


def states_of(actions: Tensor) -> Tensor:
    """A number for the prefix before each token, (B, T); after the end whatever comes out, it is not read."""
    state = torch.zeros(len(actions), dtype=torch.long)
    found = []
    for action in actions.unbind(1):
        found.append(state)
        state = (state * TOKENS + 1 + action).clamp(max=number_of_states() - 1)
    return torch.stack(found, 1)


def number_of_states() -> int:
    """Prefixes shorter than a whole completion."""
    return sum(TOKENS**length for length in range(LENGTH))


def log_probs_of(table: Tensor, completions: Completions) -> Tensor:
    """Log-probability of each token under a table of logits (states, tokens + 1), zero off the mask, (B, T)."""
    found = torch.log_softmax(table, -1)[completions.states, completions.actions]
    return torch.where(completions.mask, found, 0.0)


@torch.no_grad()
def sample(table: Tensor, number: int) -> Completions:
    """Completions of the policy."""
    state = torch.zeros(number, dtype=torch.long)
    alive = torch.ones(number, dtype=torch.bool)
    probabilities = torch.softmax(table, -1)
    states, actions, mask = [], [], []
    for _ in range(LENGTH):
        action = torch.multinomial(probabilities[state], 1)[:, 0]
        states.append(state)
        actions.append(action)
        mask.append(alive)
        alive = alive & (action != END)
        state = (state * TOKENS + 1 + action).clamp(max=number_of_states() - 1)
    return Completions(*(torch.stack(column, 1) for column in (states, actions, mask)))


@dataclass(frozen=True)
class World:
    """A reference, a worth of each token, and a coefficient of the KL."""

    reference: Tensor
    worth: Tensor
    kl_coef: float

    def reward(self, completions: Completions) -> Tensor:
        """What the tokens of each completion are worth, less one without an end, (B,)."""
        ended = ((completions.actions == END) & completions.mask).any(1)
        return (self.worth[completions.actions] * completions.mask).sum(1) - (~ended).float()

    def best(self, kl_coef: float | None = None) -> Tensor:
        """Log-probability of every completion under the best policy."""
        every = everything()
        coef = self.kl_coef if kl_coef is None else kl_coef
        return torch.log_softmax(log_probs_of(self.reference, every).sum(1) + self.reward(every) / coef, 0)

    def gap(self, table: Tensor, kl_coef: float | None = None) -> float:
        """What a policy lacks of the best, as a share of what the reference lacks: 0 is best, 1 has learned nothing."""
        every, best = everything(), self.best(kl_coef)
        lacks = [
            float((found.exp() * (found - best)).sum())
            for found in (log_probs_of(logits.detach(), every).sum(1) for logits in (table, self.reference))
        ]
        return lacks[0] / lacks[1]


def world(seed: int, kl_coef: float = 0.5) -> World:
    """Token 0 is worth one; the other tokens what the seed says, at most a half, as the reference's logits."""
    torch.manual_seed(seed)
    worth = torch.cat([torch.ones(1), torch.rand(TOKENS - 1) - 0.5, torch.zeros(1)])
    return World(0.5 * torch.randn(number_of_states(), TOKENS + 1), worth, kl_coef)

"""Sums of Kronecker products in factors: W = sum_i A_i ⊗ (s_i t_i), and adapters of two such layers.

A (n, n, n): the rule, A_i = A[i]. s (n, I/n, k), t (n, k, O/n): n thin factors of rank k. W (I, O) acts on rows, x W.
With X (n, I/n) the rows of x, the product's rows are sum_i A_i^T X s_i t_i, so W is never formed.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from accorda.errors import Refusal
from accorda.methods.contract import Adapter, Base
from accorda.models.roles import Site


class Rule(nn.Module):
    """A (n, n, n), one for all layers of a model; normal with the given deviation."""

    def __init__(self, n: int, std: float):
        super().__init__()
        self.A = nn.Parameter(torch.empty(n, n, n))
        nn.init.normal_(self.A, std=std)


class Layer(nn.Module):
    """s (n, I/n, k), t (n, k, O/n), bias (O,): x W + bias for x (..., I)."""

    def __init__(self, n: int, rank: int, in_features: int, out_features: int):
        super().__init__()
        self.s = nn.Parameter(torch.empty(n, in_features // n, rank))
        self.t = nn.Parameter(torch.empty(n, rank, out_features // n))
        self.bias = nn.Parameter(torch.zeros(out_features))
        for factors in (self.s, self.t):
            for factor in factors:
                nn.init.xavier_uniform_(factor, gain=math.sqrt(2))

    def forward(self, x: Tensor, A: Tensor) -> Tensor:
        """(..., I) -> (..., O) under the rule A."""
        rows = x.unflatten(-1, (A.shape[0], -1))
        thin = torch.einsum("...ap,ipk->...iak", rows, self.s)
        turned = torch.einsum("...iak,iab->...ibk", thin, A)
        return torch.einsum("...ibk,ikq->...bq", turned, self.t).flatten(-2) + self.bias


class HypercomplexAdapter(Adapter):
    """down (D -> M) and up (M -> D), and the rule, which the model's root owns."""

    rule: Rule

    def __init__(self, site: Site, rule: Rule, rank: int, reduction_factor: int):
        super().__init__()
        n, width = rule.A.shape[0], site.out_features
        if width % n:
            raise Refusal(f"method.n = {n} does not divide the {width} features of {site.name} ({site.role})")
        size = bottleneck(width, reduction_factor, n)
        self.down, self.up = Layer(n, rank, width, size), Layer(n, rank, size, width)
        object.__setattr__(self, "rule", rule)  # not a child: it would be stored and counted at every site

    def output(self, x: Tensor, y: Tensor, base: Base) -> Tensor:
        """The base's y + up(gelu(down(y)))."""
        inner = functional.gelu(self.down(y, self.rule.A), approximate="tanh")
        return y + self.up(inner, self.rule.A)


def bottleneck(width: int, factor: int, n: int) -> int:
    """The width divided by the factor, rounded up to a multiple of n."""
    return math.ceil(width / factor / n) * n

"""Small methods that use corners of the contract which no shipped method uses yet."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from accorda.methods.contract import Adapter, ModuleMethod, ParameterMethod, Traits
from accorda.methods.targets import base_parameters

ANY = Traits(mergeable=True, identity_at_init="no")
NO_MERGE = Traits(mergeable=False, identity_at_init="no")


@dataclass(frozen=True, kw_only=True)
class Scaling(ModuleMethod):
    """Multiplies what a module receives: x -> scale * x. Merges into the columns."""

    paper, traits = "arXiv:0000.00000", ANY
    target_modules: str | tuple[str, ...] = "mlp.down"

    def build(self, site, shared):
        return ScalingAdapter(site.in_features)


class ScalingAdapter(Adapter):
    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(1 + 0.2 * torch.randn(width))

    def input(self, x, base):
        return x * self.scale

    def merged(self, base):
        return base.weight * self.scale, base.bias


@dataclass(frozen=True, kw_only=True)
class Parallel(ModuleMethod):
    """A bottleneck beside the whole MLP: reads the input of `mlp.up`, adds to the output of `mlp.down`."""

    paper, traits = "arXiv:0000.00000", NO_MERGE
    target_modules: str | tuple[str, ...] = "mlp.down"

    def entry(self, site, sites):
        return next(s for s in sites if s.role == "mlp.up" and (s.block, s.stack) == (site.block, site.stack))

    def build(self, site, shared):
        return ParallelAdapter(site.out_features)


class ParallelAdapter(Adapter):
    def __init__(self, width):
        super().__init__()
        self.down, self.up = nn.Linear(width, 4), nn.Linear(4, width)

    def output(self, x, y, base):
        return y + self.up(functional.relu(self.down(x)))


@dataclass(frozen=True, kw_only=True)
class Twice(ModuleMethod):
    """Adds a learned share of the module's own answer to twice its input: what `base` is for."""

    paper, traits = "arXiv:0000.00000", NO_MERGE
    target_modules: str | tuple[str, ...] = "attention.query"

    def build(self, site, shared):
        return TwiceAdapter()


class TwiceAdapter(Adapter):
    def __init__(self):
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.5))

    def output(self, x, y, base):
        return y + self.share * base(2 * x)


@dataclass(frozen=True, kw_only=True)
class Tied(ModuleMethod):
    """One shared matrix, and a scale for each site."""

    paper, traits = "arXiv:0000.00000", NO_MERGE
    target_modules: str | tuple[str, ...] = "attention.output"

    def shared(self, sites):
        return nn.Linear(sites[0].out_features, sites[0].out_features, bias=False)

    def build(self, site, shared):
        return TiedAdapter(shared)


class TiedAdapter(Adapter):
    def __init__(self, shared):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        object.__setattr__(self, "rule", shared)  # owned by the root, so not a child here

    def output(self, x, y, base):
        return y + self.scale * self.rule(y)


@dataclass(frozen=True, kw_only=True)
class Largest(ParameterMethod):
    """Trains the entries of every matrix whose magnitude is above a bound, and nothing else."""

    paper, traits = "arXiv:0000.00000", Traits(mergeable=True, identity_at_init="exact")
    above: float = 0.3

    def chosen(self, model):
        matrices = {name: parameter for name, parameter in base_parameters(model).items() if parameter.ndim == 2}
        return {name: (p.abs() > self.above).flatten().nonzero().squeeze(1) for name, p in matrices.items()}

"""What a method of fine-tuning is: four kinds, because there are four places to act.

A method is a frozen dataclass of its settings and knows its maths and nothing else: not how it is installed, saved,
merged into which layout, run on which number format, or trained. `install` hangs what it builds on a model.

Shapes: B batch, T tokens, D model width, I in, O out, P virtual tokens.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.base import Base
from accorda.methods.rest import shift_of_keys
from accorda.methods.targets import num_head_parameters
from accorda.models.roles import Site, find

__all__ = ["Adapter", "Base", "Count", "Method", "ModuleMethod", "NotMergeable", "ParameterMethod", "Part"]
__all__ += ["PromptMethod", "RateScaled", "Regularised", "SideMethod", "SideNetwork", "SoftPrompt", "Stepping"]
__all__ += ["Traits"]

Architecture = Literal["decoder", "encoder", "encoder_decoder"]


class NotMergeable(Refusal):
    """What the method learned cannot be written into the base model's own weights."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a method promises. The contract suite checks every promise both ways.

    mergeable: folds into the base's own weights.
    identity_at_init: the installed, untrained model says what the base says: bit for bit, nearly, or not at all.
    quantized_base: works on a base whose linears are held in a number format.
    architectures: the kinds of model it works on.
    stochastic: draws in training mode even without dropout, so that not every tensor moves in every step.
    needs_attention: works only where the model runs our attention function.
    training_only_part: a part of it is for training and not saved; a saved adapter that goes on says the same, and
        trains what that part gave.
    """

    mergeable: bool
    identity_at_init: Literal["exact", "near", "no"]
    quantized_base: bool = True
    architectures: tuple[Architecture, ...] = ("decoder", "encoder", "encoder_decoder")
    stochastic: bool = False
    needs_attention: bool = False
    training_only_part: bool = False


@dataclass(frozen=True, kw_only=True)
class Count:
    """Numbers of parameters: trained by the method, kept in the saved adapter, and of new heads (always trained)."""

    trained: int
    kept: int
    heads: int = 0


class Part(nn.Module):
    """What a method hangs on a model."""

    def kept(self) -> dict[str, Tensor]:
        """What a saved adapter holds of it, by the names in what `Method.kept` builds: as a rule all its tensors."""
        return self.state_dict(keep_vars=True)


class Adapter(Part):
    """What a ModuleMethod hangs on one site. Override `input`, `output` or both."""

    def input(self, x: Tensor, base: Base) -> Tensor:
        """Change what the module receives: (..., I) -> (..., I)."""
        return x

    def output(self, x: Tensor, y: Tensor, base: Base) -> Tensor:
        """Change what the module gives: x (..., I) as it received it, y = base(x) (..., O) -> (..., O).

        Nobody else holds what a linear layer, or an adapter before, has given: that may be written over, and its
        maker must not want it on its way back.
        """
        return y

    def merged(self, base: Base) -> tuple[Tensor, Tensor | None]:
        """Weight (O, I) and bias (O,) of a plain module that computes the same.

        Raises:
            NotMergeable: there is no such module.
        """
        raise NotMergeable(f"{type(self).__name__} cannot be written into the base's weights")


class SoftPrompt(Part):
    """Trained vectors among the embedded tokens, or in front of the keys and values of every attention module.

    placement "front": before every row or packed segment. "placeholder": where an id is negative; -1 names the first
    vector, -2 the second, and so on. "attention": keys and values that every query of a row or segment sees.
    """

    num_virtual_tokens: int
    placement: Literal["front", "placeholder", "attention"] = "front"

    def embeds(self) -> Tensor:
        """(P, D), in the space of the embedding module's output. Not asked for in placement "attention"."""
        raise NotImplementedError

    def keys_values(self, stack: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Keys and values (H_kv, P, d_h) for each attention module of a stack, by its name; for "attention" only."""
        raise NotImplementedError


class SideNetwork(Part):
    """Reads the frozen backbone's hidden states; its output takes the place of the backbone's."""

    def forward(
        self, hidden_states: Sequence[Tensor], inputs: dict[str, Any], output: Any, stack: str
    ) -> Tensor | None:
        """The last hidden state (B, T, D) that enters the head, or None to leave this stack's output alone.

        Args:
            hidden_states: the input of the first block, then the output of every block, each (B, T, D), detached.
            inputs: the backbone's own keyword arguments.
            output: what the backbone returned.
            stack: "" or "encoder" or "decoder".
        """
        raise NotImplementedError


class Method(ABC):
    """Settings of a method of fine-tuning. Concrete classes are frozen, keyword-only dataclasses and final.

    `family` is the folder of the method's file. `paper` is "arXiv:..." or "doi:...". `rate_of` names the method whose
    learning rate it takes at a stage where none is known for itself: one of the same form and scale, whose measured
    rates are within a factor of three of its own.
    """

    kind: ClassVar[Literal["module", "parameter", "prompt", "side"]]
    family: ClassVar[str]
    paper: ClassVar[str]
    traits: ClassVar[Traits]
    rate_of: ClassVar[str | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.family = cls.__module__.split(".")[-2]

    def kept(self) -> Self:
        """The method as a saved adapter has it: itself, unless a part of it is for training only."""
        return self

    @abstractmethod
    def num_parameters(self, model: PreTrainedModel) -> Count:
        """Counts for this model, which may live on the meta device. Nothing is allocated or installed."""


@dataclass(frozen=True, kw_only=True)
class ModuleMethod(Method):
    """Acts on inputs and outputs of chosen modules."""

    kind = "module"
    target_modules: str | tuple[str, ...] = "all-linear"
    """where it acts: all-linear, a role (attention.query), a module name (q_proj), or a list of them"""

    def sites(self, model: PreTrainedModel) -> list[Site]:
        """Where adapters go. Raises Refusal where a target matches nothing."""
        return find(model, self.target_modules)

    def shared(self, sites: Sequence[Site]) -> nn.Module | None:
        """State that all adapters of this install share; owned once, by the model's root."""
        return None

    def entry(self, site: Site, sites: Sequence[Site]) -> Site | None:
        """Another of the model's `sites` whose input the adapter receives as x, None for its own site's input."""
        return None

    @abstractmethod
    def build(self, site: Site, shared: nn.Module | None) -> Adapter:
        """The adapter of one site. It must not register `shared` as its child."""

    def resting(self, site: Site, model: PreTrainedModel) -> str | Mapping[str, str] | None:
        """Why this site's adapter, or some of its tensors by name, may keep their start value; None: all must move."""
        return None

    def num_parameters(self, model: PreTrainedModel) -> Count:
        """Built on the meta device and counted."""
        sites = self.sites(model)
        with torch.device("meta"):
            shared = self.shared(sites)
            built: list[nn.Module] = [self.build(site, shared) for site in sites]
        return counted(self, built if shared is None else [shared, *built], model)


@runtime_checkable
class RateScaled(Protocol):
    """A ModuleMethod whose tensors learn at rates of their own (LoRA+)."""

    def rate_scale(self, tensor: str) -> float:
        """The factor on the recipe's learning rate for the tensor of that name in every adapter."""
        ...


@runtime_checkable
class Regularised(Protocol):
    """A ModuleMethod that adds to what is minimised (AdaLoRA)."""

    def extra_loss(self, adapters: Sequence[Adapter]) -> Tensor:
        """A scalar, added once per step to the loss, which is a mean over the step's supervised tokens."""
        ...


@runtime_checkable
class Stepping(Protocol):
    """A ModuleMethod that acts between steps (AdaLoRA).

    What it remembers from step to step are buffers of adapters that train: the loop's state keeps those. What it draws
    depends on a seed of its own and `step` alone.
    """

    def on_step(self, adapters: Sequence[Adapter], step: int, num_steps: int) -> None:
        """Called after the optimizer's update of step `step`, the first being 1; the gradients are still there."""
        ...


@dataclass(frozen=True, kw_only=True)
class ParameterMethod(Method):
    """Trains parameters of the base model itself; the base's value stays beside each, frozen."""

    kind = "parameter"

    @abstractmethod
    def chosen(self, model: PreTrainedModel) -> dict[str, Tensor | None]:
        """The base parameters that train, by name as in `base_parameters`, each with the entries of it that do.

        None: all of them, in place. Otherwise the numbers (N,), int64, of entries of the flattened parameter: these
        train as one vector of changes that is scattered into the weight in every forward pass, so optimizer state and
        stored values count entries, not weights. The model may live on the meta device.
        """

    def resting(self, name: str, model: PreTrainedModel) -> str | None:
        """Why this parameter may keep its start value through training, None if it must move."""
        return shift_of_keys(name, model) if name.endswith(".bias") else None

    @property
    def keeps_base(self) -> bool:
        """Whether the base's values stay beside the trained ones. Without, the model cannot go back to its base."""
        return True

    def num_parameters(self, model: PreTrainedModel) -> Count:
        """The chosen entries, without building anything."""
        trained = 0
        for name, entries in self.chosen(model).items():
            trained += (model.get_parameter(name) if entries is None else entries).numel()
        return Count(trained=trained, kept=trained, heads=num_head_parameters(model))


@dataclass(frozen=True, kw_only=True)
class PromptMethod(Method):
    """Puts trained vectors among the embedded tokens or in front of keys and values."""

    kind = "prompt"

    @abstractmethod
    def build(self, model: PreTrainedModel) -> SoftPrompt:
        """The vectors."""

    def num_parameters(self, model: PreTrainedModel) -> Count:
        """Built on the meta device and counted."""
        with torch.device("meta"):
            return counted(self, [self.build(model)], model)


@dataclass(frozen=True, kw_only=True)
class SideMethod(Method):
    """Runs a network beside the frozen backbone, which then needs no backward pass."""

    kind = "side"

    @abstractmethod
    def build(self, model: PreTrainedModel) -> SideNetwork:
        """The network beside the backbone."""

    def num_parameters(self, model: PreTrainedModel) -> Count:
        """Built on the meta device and counted."""
        with torch.device("meta"):
            return counted(self, [self.build(model)], model)


def counted(method: Method, modules: Iterable[nn.Module], model: PreTrainedModel) -> Count:
    """All parameters of what the method built are trained; those of what its kept form builds are kept."""
    number = sum(parameter.numel() for module in modules for parameter in module.parameters())
    count = Count(trained=number, kept=number, heads=num_head_parameters(model))
    kept = method.kept()
    return count if kept == method else replace(count, kept=kept.num_parameters(model).kept)

"""What a loop may be given beside a function: an objective that knows whole steps, and what is carried between them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from accorda.data.batch import Batch, Segment
from accorda.data.sampler import Batches
from accorda.training.checkpoint import State
from accorda.training.parts import Part


class StepObjective(ABC):
    """An objective that must know a whole step before its first micro-batch, and tells more of it than the loss.

    It may have parameters of its own, which train beside the model's.
    """

    def own_parameters(self) -> dict[str, nn.Parameter]:
        """By name; none unless it says otherwise."""
        return {}

    def beside(self, model: nn.Module) -> dict[str, Tensor]:
        """What is kept of a run beside its result, live: what was learned for training only."""
        return {}

    @abstractmethod
    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The summed loss of a micro-batch."""

    @abstractmethod
    def begin(self, model: nn.Module, batches: Sequence[Batch]) -> None:
        """Called with all micro-batches of a step before the first of them."""

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """What there is to tell of the micro-batches since `begin`."""


class Carried(ABC):
    """What is carried from step to step beside parameters: what batches that a model makes itself rest on."""

    timed: Part
    """Entered around each part of its work, by the part's name."""

    @abstractmethod
    def state(self) -> State:
        """All that the following steps depend on."""

    @abstractmethod
    def load_state(self, state: State) -> None:
        """Go on from there."""

    @abstractmethod
    def figures(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """What there is to tell with the step that was just made, beside what is told of it already."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is held outside this process, at the end of a run or where it stops."""


class Making(Carried):
    """Batches that a model makes itself: what `loop.Batches` says, and what has to be known from step to step."""

    beside: Batches | None
    """Ordinary rows that every step learns, too."""

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, str]:
        """Hashes of what the batches rest on beside recipe, data and model, by the names they go by."""

    @property
    @abstractmethod
    def dataset(self) -> Any:
        """The rows that they are made for."""

    @abstractmethod
    def at(self, step: int) -> Sequence[Batch]:
        """The micro-batches of optimizer step `step`, counted from 0."""

    @abstractmethod
    def together(self, segments: Sequence[Segment]) -> Batch:
        """Rows in a micro-batch of the shapes that are learned from."""

    @abstractmethod
    def frozen(self) -> Mapping[str, Tensor]:
        """Tensors beside the model's own that nothing may change: those of who judges."""

    @property
    @abstractmethod
    def phase(self) -> int | None:
        """The number of the phase that is learned from."""

    @abstractmethod
    def stay_here(self) -> None:
        """Ask nobody outside this process from here on: the run is over, and is only looked at."""

    @property
    def unrepeatable(self) -> str:
        """What of the batches a resumed run need not make again as it was, as the proof of that says; often nothing."""
        return ""

    @abstractmethod
    def few(self) -> tuple[Sequence[Segment], Sequence[Batch]]:
        """Rows of a small phase of their own, and their micro-batches, several where there are: nothing is kept."""

"""Sums over the micro-batches of a step, kept as tensors until somebody asks for their means."""

from collections.abc import Mapping

from torch import Tensor


class Figures:
    """Means by name. Nothing is brought from the device before `means`."""

    def __init__(self) -> None:
        self.sums: dict[str, list[Tensor]] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Values (n,) each, of one micro-batch."""
        for name, value in values.items():
            self.sums.setdefault(name, []).append(value.detach().float().sum())
            self.counts[name] = self.counts.get(name, 0) + value.numel()

    def means(self) -> dict[str, float]:
        """Over all values so far; a name without any is left out."""
        return {
            name: float(sum(map(float, sums))) / self.counts[name]
            for name, sums in self.sums.items()
            if self.counts[name]
        }

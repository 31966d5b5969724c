"""Parameters with several values: the base's, and one for each adapter that trains them.

One value is in the parameter, the others wait beside it in frozen parameters, `module.originals`, so that devices,
dtypes and sharding treat all alike. Showing another value exchanges two tensors in place and costs no memory.
"""

import itertools
from typing import Any, cast

import torch
from torch import nn

from accorda.errors import Refusal

BASE = None  # the owner of the base's own value
NEXT_OWNER = 1 << 20  # more in-place changes than a graph lives through; versions are 32 bits wide


class Original:
    """One parameter whose values belong to different owners: None for the base, or an adapter's name."""

    def __init__(self, module: nn.Module, path: str, leaf: str):
        self.module = module
        self.name = f"{path}.{leaf}" if path else leaf
        self.leaf = leaf
        self.shown: str | None = BASE
        self.kept: dict[str | None, str] = {}  # owner -> key in module.originals of a value that is not shown
        self.versions: dict[str | None, int] = {}

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter as the module uses it."""
        return self.module.get_parameter(self.leaf)

    def has(self, owner: str | None) -> bool:
        """Whether the owner's value is here, shown or waiting."""
        return owner == self.shown or owner in self.kept

    def owners(self) -> list[str]:
        """The adapters that have a value of their own."""
        return [owner for owner in (self.shown, *self.kept) if owner is not None]

    def value_of(self, owner: str | None) -> nn.Parameter:
        """Where the owner's value is now."""
        if owner == self.shown:
            return self.parameter
        if owner not in self.kept:
            raise Refusal(f"{self.name}: the base's value was not kept (keep_base is false)")
        return self._shelf()[self.kept[owner]]

    def check_free(self) -> None:
        """Refuse another owner while an adapter's value is shown."""
        if self.shown is not BASE:
            raise Refusal(
                f"{self.name} is already trained by adapter {self.shown!r}: make that one inactive, "
                "`with use(model, None)`, while installing another"
            )

    def add(self, owner: str, keep_base: bool) -> None:
        """Give the owner a value of its own, shown, that starts as the base's."""
        if keep_base:
            self._keep(BASE, self.parameter.detach().clone())
        self.shown = owner

    def show(self, owner: str | None) -> None:
        """Bring the owner's value into the parameter.

        Autograd refuses a backward pass through a forward pass that saw another owner's value: every showing has a
        version number of its own, and showing a value again restores the number it had.
        """
        if owner == self.shown:
            return
        waiting, parameter = self.value_of(owner), self.parameter
        highest = max([parameter._version, *self.versions.values()])
        self.versions[self.shown] = parameter._version
        with torch.no_grad():
            held = parameter.clone()
            parameter.copy_(waiting)
            waiting.copy_(held)
        version = self.versions.get(owner, highest + NEXT_OWNER)
        cast(Any, torch._C)._autograd._unsafe_set_version_counter((parameter,), (version,))
        self.kept[self.shown] = self.kept.pop(owner)
        self.shown = owner
        torch.clear_autocast_cache()  # it keeps what it has cast by the parameter, which has another value now

    def drop(self, owner: str) -> None:
        """Forget the owner's value and show the base's."""
        if self.shown == owner:
            self.show(BASE)
        del self._shelf()[self.kept.pop(owner)]
        self._tidy()

    def settle(self, owner: str) -> None:
        """Make the owner's value the base's: what merging means here."""
        self.show(owner)
        self.shown = BASE
        if BASE in self.kept:
            del self._shelf()[self.kept.pop(BASE)]
        self._tidy()

    def _shelf(self) -> nn.ParameterDict:
        if "originals" not in self.module._modules:
            self.module.add_module("originals", nn.ParameterDict())
        shelf = self.module.get_submodule("originals")
        assert isinstance(shelf, nn.ParameterDict)
        return shelf

    def _keep(self, owner: str | None, value: torch.Tensor) -> None:
        shelf = self._shelf()
        key = next(key for number in itertools.count() if (key := f"{self.leaf}_{number}") not in shelf)
        shelf[key] = nn.Parameter(value, requires_grad=False)
        self.kept[owner] = key

    def _tidy(self) -> None:
        if not len(self._shelf()):
            del self.module._modules["originals"]

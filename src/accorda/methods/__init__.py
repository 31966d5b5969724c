"""Methods of fine-tuning under one contract, in the four families of the taxonomy of Lialin et al. 2023.

The package can be called: `accorda.methods()` is the registry, whatever of the package has been imported before.
"""

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any


class _Registry(ModuleType):
    def __call__(self) -> Mapping[str, Any]:
        """Every method's class by name."""
        from accorda.methods.registry import methods

        return methods()


sys.modules[__name__].__class__ = _Registry

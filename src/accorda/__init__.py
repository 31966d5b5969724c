"""accorda tunes language models and proves what it did.

Every public name loads on first use: `import accorda` alone does not import torch. The classes of methods are public
too, by the name of the class (`accorda.LoRA`), and found by walking the methods' folders.
"""

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` would be half of what importing this costs
    from typing import Any

__version__ = "0.1.0"

PUBLIC = {  # name: the module that has it
    "add_tokens": "accorda.methods.vocabulary",
    "evaluate": "accorda.evaluation.evaluate",
    "freeze": "accorda.methods.install",
    "generate": "accorda.generation.text",
    "install": "accorda.methods.install",
    "load_adapter": "accorda.methods.storage",
    "load_model": "accorda.methods.open",
    "load_tokenizer": "accorda.methods.open",
    "merge": "accorda.methods.merging",
    "plan": "accorda.stages",
    "prepare": "accorda.methods.prepare",
    "quantize_nf4": "accorda.quantization.nf4",
    "remove": "accorda.methods.install",
    "save_adapter": "accorda.methods.storage",
    "sweep": "accorda.stages.sweep",
    "train": "accorda.stages",
    "trainable": "accorda.methods.install",
    "use": "accorda.methods.routing",
    "verify": "accorda.stages",
}


def __getattr__(name: str) -> "Any":
    """A public function, the registry `methods`, or the class of a method."""
    if name in PUBLIC:
        return getattr(import_module(PUBLIC[name]), name)
    if name == "methods":  # a package that can be called: importing any method would hide a function of that name
        return import_module("accorda.methods")
    if name[:1].isupper():
        for method in import_module("accorda.methods.registry").methods().values():
            if method.__name__ == name:
                return method
    raise AttributeError(f"module 'accorda' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, without the classes of methods: listing those would import torch."""
    return sorted([*PUBLIC, "__version__", "methods"])

"""What must hold before a method is put on a model."""

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import Method, ParameterMethod, SideMethod
from accorda.methods.routing import Routing
from accorda.models.attention import use_attention
from accorda.quantization import format_of
from accorda.recipe.number_formats import DENSE, require_dense


def check_install(model: PreTrainedModel, methods: Sequence[Method], name: str, state: Routing) -> None:
    """Refuse a bad name, and methods that do not work on this model or not together."""
    _check_name(name, state)
    if not methods:
        raise Refusal("install: an empty tuple of methods")
    for method in methods:
        _check_traits(model, method)
    _check_overlap(model, methods)
    if len(methods) > 1 and any(isinstance(method, SideMethod) for method in methods):
        raise Refusal(
            f"{' and '.join(type(method).__name__ for method in methods)}: a side network reads the frozen backbone, "
            "so nothing inside it would train; install it alone"
        )


def _check_overlap(model: PreTrainedModel, methods: Sequence[Method]) -> None:
    """Refuse two methods of one adapter that both train the same parameter of the base."""
    owner: dict[str, str] = {}
    for method in methods:
        if isinstance(method, ParameterMethod):
            label = type(method).__name__
            for name in method.chosen(model):
                if name in owner:
                    raise Refusal(f"{owner[name]} and {label} of one adapter both train {name}: keep one of them")
                owner[name] = label


def kind_of(model: PreTrainedModel) -> str:
    """decoder, encoder or encoder_decoder."""
    if model.config.is_encoder_decoder:
        return "encoder_decoder"
    return "decoder" if model.can_generate() else "encoder"


def _check_name(name: str, state: Routing) -> None:
    if name in state.installed:
        raise Refusal(f"an adapter {name!r} is installed already: remove it first or choose another name")
    if not name or "." in name or hasattr(nn.ModuleDict(), name):
        raise Refusal(f"an adapter cannot be called {name!r}: no dots, and no method name of torch.nn.ModuleDict")


def _check_traits(model: PreTrainedModel, method: Method) -> None:
    label, traits = type(method).__name__, method.traits
    if (kind := kind_of(model)) not in traits.architectures:
        raise Refusal(f"{label} works on {', '.join(traits.architectures)}; {type(model).__name__} is {kind}")
    if not traits.quantized_base:
        held = format_of(model)
        require_dense(label, DENSE if held is None else held.name)
    if traits.needs_attention and use_attention(model) is not None:
        raise Refusal(f"{label} acts inside accorda's attention function, and {type(model).__name__} keeps its own")

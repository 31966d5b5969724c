"""Find the blocks, sites and attention modules of a model without knowing its class."""

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.pytorch_utils import Conv1D

from accorda.errors import Refusal
from accorda.models.roles.names import linear_role, norm_role
from accorda.models.roles.site import Attention, Block, Site, Stack
from accorda.quantization.contract import QuantizedLinear

REQUIRED = ("attention.query", "attention.key", "attention.value", "attention.output", "mlp.up", "mlp.down")
FUSED_ROLES = (".qkv", ".gate_up")
HUNG_ON = re.compile(r"(^|\.)adapters")  # what methods hang on a model: children whose name begins so
POOLER = re.compile(r"(^|\.)pooler\.")  # inside an encoder's backbone, behind its blocks
HEAD_DIM_NAMES = ("head_dim", "attention_head_size", "head_size", "key_value_proj_dim")


def is_linear(module: nn.Module) -> bool:
    """Whether the module is a linear layer in any layout or number format."""
    return isinstance(module, nn.Linear | Conv1D | QuantizedLinear)


def is_norm(module: nn.Module) -> bool:
    """Whether the module is a LayerNorm or RMSNorm of any class."""
    return "norm" in type(module).__name__.lower()


def features(module: nn.Module) -> tuple[int, int]:
    """(in, out) features of a linear layer, (vocabulary, width) of an embedding, (width, width) of a norm."""
    match module:
        case Conv1D():
            return module.nx, module.nf
        case nn.Linear() | QuantizedLinear():
            return module.in_features, module.out_features
        case nn.Embedding():
            return module.num_embeddings, module.embedding_dim
        case _:
            weight = getattr(module, "weight", None)
            return (weight.shape[-1], weight.shape[-1]) if isinstance(weight, Tensor) else (0, 0)


def backbones(model: PreTrainedModel) -> dict[Stack, nn.Module]:
    """The transformer stacks without heads: {"": backbone}, or {"encoder": ..., "decoder": ...}."""
    if model.config.is_encoder_decoder:
        return {"encoder": model.get_encoder(), "decoder": model.get_decoder()}
    return {"": model.base_model}


def _own_modules(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, child) for name, child in module.named_modules() if not HUNG_ON.search(name))


def blocks(model: PreTrainedModel) -> list[Block]:
    """The transformer layers in order, numbered within their stack."""
    found: list[Block] = []
    for stack, backbone in backbones(model).items():
        prefix = _name_of(model, backbone)
        layers = [(n, m) for n, m in _own_modules(backbone) if isinstance(m, GradientCheckpointingLayer)]
        for index, (name, module) in enumerate(layers):
            found.append(Block(f"{prefix}.{name}" if prefix else name, module, index, stack))
    if not found:
        raise Refusal(f"{type(model).__name__} has no blocks accorda can find (no GradientCheckpointingLayer in it)")
    return found


def sites(model: PreTrainedModel) -> list[Site]:
    """Linears and norms of every block, then final norms, embedding, head and pooler.

    A fused projection comes whole and in parts.

    Raises Refusal for a linear without a known role, a block without one of the required roles, and experts.
    """
    found, exceptions = [], _exceptions(model.config.model_type)
    for block in blocks(model):
        _refuse_experts(block, model)
        inside = list(_block_sites(model, block, exceptions))
        missing = [role for role in REQUIRED if role not in {site.role for site in inside}]
        if missing:
            raise Refusal(
                f"{block.name} of this {model.config.model_type} model has no {', '.join(missing)} that accorda knows"
            )
        found += inside
    return found + _outer_sites(model, {site.name for site in found})


def attentions(model: PreTrainedModel) -> list[Attention]:
    """The modules that call the attention function: the common parent of a query, key and value projection."""
    found: dict[str, Attention] = {}
    for site in sites(model):
        kind, _, part = site.role.rpartition(".")
        if part == "key":
            name = site.name.rpartition(".")[0]
            module = model.get_submodule(name)
            width = _head_dim(module, model.config)
            found[name] = Attention(name, module, kind, site.stack, site.block, site.out_features // width, width)
    return list(found.values())


def _block_sites(model: PreTrainedModel, block: Block, exceptions: ModuleType | None) -> Iterator[Site]:
    for path, module in _own_modules(block.module):
        name = f"{block.name}.{path}"
        if is_linear(module):
            role = linear_role(path)
            if role is None:
                kind = f"{type(module).__name__}) in a {model.config.model_type} model"
                raise Refusal(f"accorda does not know the role of {name} ({kind}")
            yield from _with_parts(
                Site(name, role, module, *features(module), block.index, block.stack), model, exceptions
            )
        elif path and is_norm(module):
            role = norm_role(path, model.config.model_type)
            yield Site(name, role, module, *features(module), block.index, block.stack)


def _with_parts(site: Site, model: PreTrainedModel, exceptions: ModuleType | None) -> Iterator[Site]:
    """The site, and after a fused projection its parts."""
    yield site
    if not site.role.endswith(FUSED_ROLES):
        return
    layout: Callable[[Any, str, int], dict[str, Tensor]] | None = getattr(exceptions, "fused", None)
    if layout is None:
        raise Refusal(
            f"{site.name} is a fused projection whose layout accorda does not know for {model.config.model_type}"
        )
    for role, rows in layout(model.config, site.role, site.out_features).items():
        yield Site(site.name, role, site.module, site.in_features, len(rows), site.block, site.stack, rows)


def _outer_sites(model: PreTrainedModel, known: set[str]) -> list[Site]:
    """Norms outside blocks, the input embedding, the output head, and an encoder's pooler."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    inside = tuple(f"{block.name}." for block in blocks(model))
    found = []
    for name, module in _own_modules(model):
        if module is embedding or module is head:
            role = "embedding" if module is embedding else "head"
            found.append(Site(name, role, module, *features(module), stack=_outer_stack(model, module, role)))
        elif is_linear(module) and POOLER.search(name):
            found.append(Site(name, "pooler", module, *features(module)))
        elif is_norm(module) and name not in known and not name.startswith(inside):
            stack = _outer_stack(model, module, "norm")
            found.append(Site(name, "norm", module, *features(module), stack=stack))
    return found


def _outer_stack(model: PreTrainedModel, wanted: nn.Module, role: str) -> Stack:
    """The stack whose tokens a module outside blocks sees; "" for the embedding that two stacks share."""
    stacks = backbones(model)
    if "decoder" not in stacks or role == "embedding":
        return ""
    in_encoder = any(module is wanted for module in stacks["encoder"].modules())
    return "encoder" if in_encoder else "decoder"


def _refuse_experts(block: Block, model: PreTrainedModel) -> None:
    for path, parameter in block.module.named_parameters():
        if "experts." in path or (parameter.ndim == 3 and not HUNG_ON.search(path)):
            raise Refusal(
                f"{block.name}.{path} belongs to experts (mixture of experts, {model.config.model_type}): not supported"
            )


def _exceptions(model_type: str) -> ModuleType | None:
    """The file of this folder named after the model type, where there is one."""
    name = f"{__package__}.{model_type.replace('-', '_')}"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def _head_dim(attention: nn.Module, config: Any) -> int:
    for owner in (attention, config):
        for name in HEAD_DIM_NAMES:
            if isinstance(width := getattr(owner, name, None), int):
                return width
    return config.hidden_size // config.num_attention_heads


def _name_of(model: PreTrainedModel, wanted: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is wanted)

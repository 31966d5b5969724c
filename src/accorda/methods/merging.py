"""Write what adapters learned into the base's own weights, in the base's own layout.

Sums are formed in fp32 and cast to the module's dtype last. A module in a number format becomes a plain linear.
"""

import copy
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from accorda.errors import Refusal
from accorda.methods import host
from accorda.methods.base import Base, dense_weight
from accorda.methods.contract import NotMergeable
from accorda.methods.entries import Entries
from accorda.methods.install import hosts, strip
from accorda.methods.routing import routing, use
from accorda.models.roles import is_linear
from accorda.quantization.contract import QuantizedLinear

BESIDE = "leave it beside its base, where load_model, generate, chat and eval take it as it is"
Dense = tuple[Tensor, Tensor | None]  # weight (out, in) or (D,) of a norm; bias


def merge(model: PreTrainedModel, name: str = "default") -> PreTrainedModel:
    """Fold an adapter into the model, for good, and take it off. Returns the same model.

    Raises:
        Refusal: no such adapter; others are installed, which were trained on the unmerged base.
        NotMergeable: the base's weights cannot hold what the adapter computes. The model is left as it was.
    """
    check_mergeable(model, name)
    with use(model, name):  # so that parameters hold the values it trained
        for path in merged_paths(model, name):
            weight, bias = merged_weights(model.get_submodule(path), name)
            _untie(model, path)
            _write(model, path, weight, bias)
        _fold_entries(model, name)
        _settle_parameters(model, name)
        return strip(model, name)


def check_mergeable(model: PreTrainedModel, name: str = "default") -> None:
    """Refuse what cannot be merged, before anything is changed."""
    try:
        check_foldable(model, name)
    except NotMergeable as refusal:
        raise NotMergeable(f"{refusal}; {BESIDE}") from refusal
    others = [other for other in routing(model).installed if other != name]
    if others:
        raise Refusal(f"merge: adapter {others[0]!r} was trained on the unmerged base; remove it first")


def check_foldable(model: PreTrainedModel, name: str = "default") -> None:
    """Refuse an adapter that cannot be written into the base's weights, whatever else is installed."""
    state = routing(model)
    state.require(name)
    for method in state.installed[name]:
        if not method.traits.mergeable:
            raise NotMergeable(f"merge: {type(method).__name__} cannot be written into the base's weights")
    for path in merged_paths(model, name):
        if _is_tied(model, path) and hasattr(model.config, "scale_decoder_outputs"):
            raise NotMergeable(
                f"{path} is tied to the embedding, and {type(model).__name__} cannot be without that tie"
            )
        try:
            merged_weights(model.get_submodule(path), name)
        except NotMergeable as refusal:
            raise NotMergeable(f"merge: {path}: {refusal}") from refusal


def merged_paths(model: PreTrainedModel, name: str = "default") -> list[str]:
    """The modules whose weights merging the adapter rewrites."""
    return [path for path, module in hosts(model) if host.placed(module, name)]


@torch.no_grad()
def merged_module(model: PreTrainedModel, name: str, path: str) -> nn.Module:
    """A module of the base's class and layout that computes what the one at `path` computes with the adapter.

    The model is not changed, so modules can be compared, or merged, one at a time.
    """
    module = model.get_submodule(path)
    weight, bias = merged_weights(module, name)
    if isinstance(module, QuantizedLinear):
        return _set_dense(module.dense(model.dtype), weight, bias)
    bare = copy.copy(module)
    bare.__dict__ = {key: value for key, value in module.__dict__.items() if key != host.HOSTING}
    bare._parameters, bare._buffers, bare._modules = dict(module._parameters), dict(module._buffers), {}
    bare._forward_hooks, bare._forward_pre_hooks = OrderedDict(), OrderedDict()
    return _set_dense(bare, weight, bias)


@torch.no_grad()
def merged_weights(module: nn.Module, name: str) -> Dense:
    """Dense weight and bias, in fp32, of the module with the adapter folded in.

    One adapter per part gives its own `merged`; a stack of several is asked what it does to the identity.
    """
    mine = host.placed(module, name)
    if any(one.tap is not None for one in mine):
        raise NotMergeable("an adapter between two modules cannot be written into either's weights")
    parts = [(one.base, one.adapter.merged(one.base)) for one in mine]  # refuses where one cannot
    several = len({one.key.partition("_")[0] for one in mine}) > 1
    weight, bias = _probed(module, name) if several else _summed(module, parts)
    if bias is not None and Base(module).bias is None:
        raise NotMergeable(f"{type(module).__name__} would need a bias, for which this model's files have no place")
    return weight, bias


def _summed(module: nn.Module, parts: list[tuple[Base, Dense]]) -> Dense:
    """The module's weights with each part's own."""
    base = Base(module)
    weight = base.weight.float().clone()
    bias = None if base.bias is None else base.bias.float().clone()
    for part, (part_weight, part_bias) in parts:
        rows = part.rows_on(weight.device)
        rows = slice(None) if rows is None else rows
        weight[rows] = part_weight.float()
        if part_bias is not None:
            if bias is None:
                bias = torch.zeros(weight.shape[0], device=weight.device)
            bias[rows] = part_bias.float()
    return weight, bias


def _probed(module: nn.Module, name: str) -> Dense:
    """Push zero and the identity through the adapters around the dense weight: b = f(0), W = f(I) - b."""
    if not is_linear(module):
        raise NotMergeable(f"several methods on one {type(module).__name__} cannot be merged")
    weight, bias = dense_weight(module).float(), Base(module).bias
    adapters = [one.adapter for one in host.placed(module, name)]
    modes = [adapter.training for adapter in adapters]
    inputs = torch.cat([torch.zeros_like(weight[:1]), torch.eye(weight.shape[1], device=weight.device)])
    try:
        for adapter in adapters:
            adapter.eval()
        received = host.act_on_input(module, inputs, (name,))
        given = functional.linear(received, weight, None if bias is None else bias.float())
        given = host.act_on_output(module, received, given, (name,))
    finally:
        for adapter, mode in zip(adapters, modes, strict=True):
            adapter.train(mode)
    offset = given[0]
    return (given[1:] - offset).T, offset if bias is not None or bool(offset.any()) else None


def _write(model: PreTrainedModel, path: str, weight: Tensor, bias: Tensor | None) -> None:
    """Give the module the dense weights; one in a number format is replaced."""
    module = model.get_submodule(path)
    if isinstance(module, QuantizedLinear):
        parent, _, leaf = path.rpartition(".")
        setattr(model.get_submodule(parent), leaf, _set_dense(module.dense(model.dtype), weight, bias))
    else:
        _set_dense(module, weight, bias)


def _set_dense(module: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """Give the module new parameters, in its layout and dtype."""
    dtype = module.get_parameter("weight").dtype
    layout = weight.T if isinstance(module, Conv1D) else weight
    module.register_parameter("weight", nn.Parameter(layout.to(dtype).contiguous(), requires_grad=False))
    if bias is not None:
        module.register_parameter("bias", nn.Parameter(bias.to(dtype).clone(), requires_grad=False))
    return module


def _is_tied(model: PreTrainedModel, path: str) -> bool:
    """Whether another module holds the same weight."""
    weight = model.get_submodule(path)._parameters.get("weight")
    holders = [m for m in model.modules() if any(held is weight for held in m._parameters.values())]
    return weight is not None and len(holders) > 1


def _untie(model: PreTrainedModel, path: str) -> None:
    """Let the head have a weight of its own, here and wherever the model is loaded again."""
    if _is_tied(model, path):
        model.config.tie_word_embeddings = False
        model.all_tied_weights_keys = {}


def _fold_entries(model: PreTrainedModel, name: str) -> None:
    own = model._modules.get("adapters")
    for key, change in own.get_submodule(name).named_children() if own is not None and name in own._modules else ():
        if isinstance(change, Entries):
            parameter = model.get_parameter(key.partition("_")[2].replace("/", "."))
            with torch.no_grad():
                parameter.copy_(change.scattered(parameter))


def _settle_parameters(model: PreTrainedModel, name: str) -> None:
    state = routing(model)
    for original in [original for original in state.originals if name in original.owners()]:
        original.settle(name)
        original.parameter.requires_grad_(False)
        state.originals.remove(original)

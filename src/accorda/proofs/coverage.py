"""Does the run train what was asked for: every target, in every block, these parameters and no others?

The targets are matched here again, over the model's modules, without the roles that installing went by.
"""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor
from torch.nn import Parameter
from transformers import PreTrainedModel

from accorda.methods.contract import Method, ModuleMethod, ParameterMethod
from accorda.methods.host import hosting_of
from accorda.methods.install import installed, own_tensors, trainable
from accorda.methods.targets import is_ours
from accorda.models.heads import new_heads
from accorda.models.roles import blocks, is_linear
from accorda.proofs.contract import Check, Proof, Prover, check, names
from accorda.proofs.fused import probe_fused
from accorda.proofs.numerics import in_fp32
from accorda.training.policy import VALUE
from accorda.training.session import Session

ALL_LINEAR = "all-linear"


class Coverage(Prover):
    """Every requested target matched; the trainable parameters are the ones `num_parameters` predicted."""

    name = "coverage"

    def prove(self, session: Session, folder: Path) -> Proof:
        """On the live model; also that the optimizer holds every trainable parameter."""
        return covered(session.model, session.method, _optimizer_complete(session))


def covered(model: PreTrainedModel, methods: tuple[Method, ...], *more: Check) -> Proof:
    """The proof on a model on which the methods are installed; preflight asks before a run folder exists."""
    if not methods:
        return Proof("coverage", "not applicable", "no method was asked for: the model is trained by hand")
    train = without_value_model(model, trainable(model))
    checks = [
        _count(model, methods, sum(parameter.numel() for parameter in train.values())),
        _only_intended(model, methods, list(train)),
        _blocks(model),
        *(_targets(model, method) for method in methods if isinstance(method, ModuleMethod)),
        _fused(model),
        *more,
    ]
    numbers = {name: parameter.numel() for name, parameter in train.items()}
    total = sum(parameter.numel() for parameter in model.parameters())
    evidence = {
        "trainable": sum(numbers.values()),
        "total": total,
        "tensors": len(numbers),
        "blocks": len(blocks(model)),
    }
    return Proof.of_checks("coverage", checks, f"{checks[0].reason}; {_hosted_told(model)}", **evidence)


def without_value_model(model: PreTrainedModel, train: dict[str, Parameter]) -> dict[str, Parameter]:
    """What trains of the method that was asked for; a value model has the same once more."""
    if VALUE not in installed(model):
        return train
    own = {id(tensor) for tensor in own_tensors(model, VALUE).values()}
    return {name: parameter for name, parameter in train.items() if id(parameter) not in own}


def hosted(model: PreTrainedModel) -> dict[str, list[Tensor | None]]:
    """The base's modules that carry adapters, by name; per adapter the output rows it acts on, None for all."""
    found = {}
    for name, module in model.named_modules():
        hosting = hosting_of(module)
        if hosting is not None and hosting.placed:
            found[name] = [one.base.rows for parts in hosting.placed.values() for one in parts]
    return found


def _hosted_told(model: PreTrainedModel) -> str:
    number = len(hosted(model))
    return f"adapters on {number} modules of {len(blocks(model))} blocks" if number else "no adapter on a module"


def _count(model: PreTrainedModel, methods: tuple[Method, ...], found: int) -> Check:
    counts = [method.num_parameters(model) for method in methods]
    predicted = sum(count.trained for count in counts) + max((count.heads for count in counts), default=0)
    return check(
        "count",
        found == predicted,
        f"{found:,} parameters train, as predicted",
        f"{found:,} parameters train, the method predicts {predicted:,}",
    )


def _only_intended(model: PreTrainedModel, methods: tuple[Method, ...], train: list[str]) -> Check:
    """What trains was hung on the model by a method, is a new head, or is what a method chooses of the base."""
    chosen = {name for m in methods if isinstance(m, ParameterMethod) for name in m.chosen(model)}
    heads = {id(p) for head in new_heads(model).values() for p in head.parameters()}
    alien = [n for n in train if not is_ours(n) and n not in chosen and id(model.get_parameter(n)) not in heads]
    reason = "nothing of the base trains" if not chosen else f"of the base train {len(chosen)} tensors, all chosen"
    return check("only intended", not alien, reason, f"no method asked for these to train: {names(alien, 3)}")


def _blocks(model: PreTrainedModel) -> Check:
    """As many blocks were found as config.json says there are."""
    config = model.config
    told = getattr(config, "num_hidden_layers", None)
    if config.is_encoder_decoder or not isinstance(told, int):
        return Check("blocks", "not applicable", "config.json tells no single number of blocks")
    found = len(blocks(model))
    return check("blocks", found == told, f"{found} blocks", f"config.json tells {told} blocks, {found} were found")


def _targets(model: PreTrainedModel, method: ModuleMethod) -> Check:
    """Every module a target names carries an adapter; a role is met in every block at the same places."""
    targets = method.target_modules
    targets = (targets,) if isinstance(targets, str) else tuple(targets)
    have = hosted(model)
    skipped, roles = [], False
    for target in targets:
        wanted = list(_named(model, target))
        roles |= not wanted or target == ALL_LINEAR
        skipped += [name for name in wanted if name not in have]
    uneven = _uneven(model, set(have)) if roles else []
    why = (
        f"named as target, and without adapter: {names(skipped, 3)}"
        if skipped
        else f"only in some blocks: {names(uneven, 3)}"
    )
    reason = f"{names(targets)}: every module carries its adapter"
    return check(
        "targets", bool(have) and not skipped and not uneven, reason, why if have else "no module carries an adapter"
    )


def _named(model: PreTrainedModel, target: str) -> Iterator[str]:
    """Linears inside blocks for `all-linear`, linears whose name ends with the target for a name, none for a role."""
    inside = tuple(f"{block.name}." for block in blocks(model))
    for name, module in model.named_modules():
        if is_linear(module) and not is_ours(name):
            everywhere = target == ALL_LINEAR and name.startswith(inside)
            if everywhere or f".{name}".endswith(f".{target}"):
                yield name


def _uneven(model: PreTrainedModel, have: set[str]) -> list[str]:
    """Places inside a block that carry an adapter in some blocks of their stack and not in others."""
    places: dict[str, list[set[str]]] = {}
    for block in blocks(model):
        inside = {name.removeprefix(f"{block.name}.") for name in have if name.startswith(f"{block.name}.")}
        places.setdefault(block.stack, []).append(inside)
    return sorted({name for stack in places.values() for name in set.union(*stack) - set.intersection(*stack)})


def _fused(model: PreTrainedModel) -> Check:
    parts = {name: [r for r in rows if r is not None] for name, rows in hosted(model).items()}
    with in_fp32(model):
        return probe_fused(model, {name: rows for name, rows in parts.items() if rows})


def _optimizer_complete(session: Session) -> Check:
    held = {id(parameter) for parameter in session.loop.parameters().values()}
    lost = [name for name, parameter in trainable(session.model).items() if id(parameter) not in held]
    reason = f"the optimizer holds all {len(held)} trainable tensors"
    return check("optimizer", not lost, reason, f"trainable, and unknown to the optimizer: {names(lost, 3)}")

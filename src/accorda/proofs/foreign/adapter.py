"""Does an adapter file fit its base, has it every factor it promises, and did training move them?

Names are those of Hugging Face PEFT files: `base_model.model.<module>.<factor>`.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from accorda.methods.storage import read_header
from accorda.methods.storage.adapter import OWN_TYPE
from accorda.models.fingerprint import fingerprint
from accorda.proofs.contract import Check, check, names
from accorda.proofs.foreign.folder import Folder

PREFIX = "base_model.model."
LORA = re.compile(r"^(?P<module>.+)\.lora_(?:embedding_)?(?P<factor>[AB])(?:\.weight)?$")
OWN_PART = re.compile(r"\.\d+_\w+$")
FACTOR = re.compile(
    r"^(?P<module>.+?)\.(?:lora_\w+|hada_\w+|lokr_\w+|oft_\w+|boft_\w+|ia3_l|vera_\w+|hra_\w+|randlora_\w+|c3a_\w+)"
    r"(?:\.\w+)*$"
)


def coverage(folder: Folder) -> list[Check]:
    """The modules the file names exist in the base with these shapes, and every promised site has its factors."""
    if folder.tensors.faults:
        return [Check("keys", "not applicable", "the weight file cannot be read")]
    if folder.skeleton is None:
        named = folder.config.get("base_model_name_or_path")
        return [
            Check(
                "base",
                "not applicable",
                f"the base {named!r} is not a folder here; give it with --base, or base= from Python",
            )
        ]
    modules = dict(folder.skeleton.named_modules())
    checks = [_fingerprint(folder), _modules_exist(folder, modules), _keys_known(folder, modules)]
    if folder.config.get("peft_type") == "LORA":
        checks += [_pairs(folder), _shapes(folder, modules)]
    checks += [_targets(folder, modules), _saved_modules(folder)]
    return checks


def at_rest(folder: Folder) -> list[Check]:
    """Factors that still have the value every method starts from are factors that training never reached."""
    ones = folder.config.get("peft_type") == "IA3"
    factors = {name for name in folder.tensors.where if FACTOR.match(name)}
    if not factors:
        return [Check("factors moved", "not applicable", "the file holds no factor with a known starting value")]
    resting = {_module(name) for name, tensor in folder.tensors.items() if name in factors and _rests(tensor, ones)}
    sites = {_module(name) for name in factors}
    value = "one" if ones else "zero"
    return [
        check(
            "factors moved",
            not resting,
            f"at none of {len(sites)} sites a factor is {value} throughout",
            f"at {len(resting)} of {len(sites)} sites a factor is {value} throughout, the value it starts from, so the "
            f"tuned model does there what the base does: {names(sorted(resting), 3)}",
        )
    ]


def _rests(tensor: Tensor, ones: bool) -> bool:
    return bool((tensor == 1).all()) if ones else not bool(tensor.any())


def _module(name: str) -> str:
    """The module of the base a tensor belongs to; our own format names the method's number and part behind it."""
    found = FACTOR.match(name)
    return OWN_PART.sub("", found["module"] if found else name.rpartition(".")[0]).removeprefix(PREFIX)


def _fingerprint(folder: Folder) -> Check:
    """The base that the adapter remembers, where the tool that wrote it made a note of one."""
    noted = read_header(folder.path)["base"]
    if not noted:
        return Check("fingerprint", "not applicable", "the tool that wrote it noted no fingerprint of its base")
    assert folder.base is not None
    try:
        found = fingerprint(cast(PreTrainedModel, folder.skeleton), sorted(folder.base.glob("*.safetensors")))
    except ValueError as error:
        return Check("fingerprint", "not applicable", str(error))
    differ = [key for key, value in noted.items() if key in found and found[key] != value]
    why = f"trained on another base: {names(differ)} differ from those of {folder.base}"
    return check("fingerprint", not differ, "the base is the one it was trained on", why)


def _keys_known(folder: Folder, modules: Mapping[str, nn.Module]) -> Check:
    """Every tensor is a factor of a known kind, a module saved whole, or a prompt."""
    if folder.config.get("peft_type") == OWN_TYPE:
        return Check("keys known", "not applicable", "accorda's own format: its loader matches every key")
    others = [name for name in folder.tensors.where if not FACTOR.match(name) and "prompt_embeddings" not in name]
    unknown = [name for name in others if _module(name) not in modules]
    return check("keys known", not unknown, "no tensor that nothing reads", f"nothing reads {names(unknown, 3)}")


def _modules_exist(folder: Folder, modules: Mapping[str, nn.Module]) -> Check:
    unknown = sorted({_module(name) for name in folder.tensors.where if FACTOR.match(name)} - set(modules))
    return check(
        "base has the modules",
        not unknown,
        "every module the file names exists in the base",
        f"the file names modules the base does not have: {names(unknown, 3)}; it was trained on another base",
    )


def _lora(folder: Folder) -> list[tuple[str, str, tuple[int, ...]]]:
    """(module, "A" or "B", shape) of every LoRA factor in the file."""
    found = ((LORA.match(name), shape) for name, shape in folder.tensors.shapes.items())
    return [(m["module"].removeprefix(PREFIX), m["factor"], shape) for m, shape in found if m]


def _pairs(folder: Folder) -> Check:
    factors = Counter(module for module, _, _ in _lora(folder))
    lonely = sorted(module for module, count in factors.items() if count != 2)
    return check(
        "factors complete",
        bool(factors) and not lonely,
        f"A and B are there at {len(factors)} sites",
        f"one of the two factors is missing at {names(lonely, 3)}; a partial save, as sharded trainers leave it"
        if lonely
        else "the header says LORA and the file holds no LoRA factor",
    )


def _shapes(folder: Folder, modules: Mapping[str, nn.Module]) -> Check:
    wrong = []
    for module, factor, shape in _lora(folder):
        expected = _expected(modules.get(module), factor, _rank(module, folder.config))
        if expected is not None and shape != expected:
            wrong.append(f"{factor} of {module} is {list(shape)}, base and rank ask for {list(expected)}")
    return check("shapes fit", not wrong, "every factor has the shape its module and rank ask for", names(wrong, 2))


def _expected(module: nn.Module | None, factor: str, rank: int) -> tuple[int, int] | None:
    """A: (rank, in), B: (out, rank). None for a module without a plain weight matrix."""
    weight = getattr(module, "weight", None)
    if weight is None or weight.dim() != 2:
        return None
    out_features, in_features = weight.shape
    if isinstance(module, Conv1D | nn.Embedding):
        out_features, in_features = in_features, out_features
    return (rank, in_features) if factor == "A" else (out_features, rank)


def _rank(module: str, config: Mapping[str, Any]) -> int:
    """The rank of one site: PEFT's rank_pattern (matched at the end of the module's name), else r."""
    for pattern, rank in (config.get("rank_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return int(rank)
    return int(config.get("r") or 0)


def _targets(folder: Folder, modules: Mapping[str, nn.Module]) -> Check:
    """Every module that target_modules selects in the base has factors in the file."""
    wanted = [name for name in modules if name and _selected(name, folder.config)]
    if not wanted:
        return Check("targets covered", "not applicable", "the header names no target_modules")
    present = {_module(name) for name in folder.tensors.where}
    skipped = [name for name in wanted if name not in present]
    return check(
        "targets covered",
        not skipped,
        f"all {len(wanted)} modules that target_modules selects have factors",
        f"{len(skipped)} of {len(wanted)} modules that target_modules selects have none: {names(skipped, 3)}",
    )


def _selected(name: str, config: Mapping[str, Any]) -> bool:
    """PEFT's rule: a string is a full-match pattern, a list names whole modules or their last parts."""
    if _matches(name, config.get("exclude_modules")) or _inside(name, config.get("modules_to_save")):
        return False
    layers = config.get("layers_to_transform")
    if not _matches(name, config.get("target_modules")):
        return False
    if layers is None or isinstance(config.get("target_modules"), str):
        return True
    index = re.search(r"\.(\d+)\.", name)
    return index is not None and int(index[1]) in ([layers] if isinstance(layers, int) else layers)


def _matches(name: str, pattern: Any) -> bool:
    if isinstance(pattern, str):
        return re.fullmatch(pattern, name) is not None
    return any(name == entry or name.endswith(f".{entry}") for entry in pattern or ())


def _inside(name: str, modules: Any) -> bool:
    return any(entry in name.split(".") for entry in modules or ())


def _saved_modules(folder: Folder) -> Check:
    wanted = folder.config.get("modules_to_save") or []
    missing = [entry for entry in wanted if not any(_inside(name, [entry]) for name in folder.tensors.where)]
    if not wanted:
        return Check("saved modules", "not applicable", "the header names no modules_to_save")
    return check(
        "saved modules",
        not missing,
        f"{names(wanted)}: there",
        f"modules_to_save names {names(missing)}, the file holds nothing of it",
    )

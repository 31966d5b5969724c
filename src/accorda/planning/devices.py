"""What a bill is for: this machine's processor or GPU, or a GPU by name. Sizes as the driver reports them, in bytes."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import torch

from accorda.errors import Refusal
from accorda.recipe.words import meant, shown
from accorda.runs.memory import memory_bytes
from accorda.training.precision import has_bf16

MIB = 1 << 20


@dataclass(frozen=True)
class Device:
    """A name, whose kernels it runs, how many bytes it has, and whether it multiplies bf16 in hardware."""

    name: str
    kind: Literal["cpu", "cuda"]
    capacity: int
    bf16: bool


def find_device(name: str | None = None) -> Device:
    """The device of that name: `cpu`, `cuda` (those of this machine), or one of `devices()`; None: what a run takes.

    A name without the size of memory is enough where only one size is known.

    Raises:
        Refusal: no device of that name, several, or no GPU in this machine.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        memory = memory_bytes()
        if memory is None:
            raise Refusal("--device cpu: this system does not tell how much memory it has; name a GPU to plan for one")
        return Device("cpu", "cpu", memory, has_bf16("cpu"))
    if name == "cuda":
        if not torch.cuda.is_available():
            raise Refusal(f"--device cuda: no GPU in this machine; name one: {', '.join(devices())}")
        found = torch.cuda.get_device_properties(0)
        return Device("cuda", "cuda", found.total_memory, has_bf16("cuda"))
    if name.lower() in devices():
        return devices()[name.lower()]
    sizes = [known for known in devices() if known.startswith(f"{name.lower()}-")]
    if len(sizes) == 1:
        return devices()[sizes[0]]
    if sizes:
        raise Refusal(f"--device {shown(name)}: there are several; name {' or '.join(sizes)}")
    near = meant(name.lower(), devices()) or f"; there are cpu, cuda, {', '.join(devices())}"
    raise Refusal(f"--device {shown(name)}: no device of that name{near}")


@cache
def devices() -> dict[str, Device]:
    """The GPUs that have a name here."""
    table = json.loads((files("accorda.planning") / "devices.json").read_text(encoding="utf-8"))
    return {name: Device(name, "cuda", one["mib"] * MIB, one["bf16"]) for name, one in table.items()}

"""What a step computes in. Parameters that train are fp32 always; bf16 and fp16 are what the products run in."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from accorda.errors import Refusal

SMALL_MODEL = 20_000_000  # parameters; below it casts cost more than the products gain

Name = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """A name, the device it is for, and why it was chosen (None where the user did)."""

    name: Name = "fp32"
    device_type: str = "cpu"
    reason: str | None = None

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of matrix products."""
        return DTYPES[self.name]

    def autocast(self) -> AbstractContextManager[object]:
        """The context a forward pass runs in."""
        return nullcontext() if self.name == "fp32" else torch.autocast(self.device_type, self.dtype)

    def prepare(self, model: nn.Module) -> None:
        """Give trainable parameters fp32 master copies, in place; in fp32 the whole model computes in it.

        A frozen base stays as it was loaded where autocast converts what it multiplies. Widening loses no bit. The
        base's value that waits beside a trained parameter is widened too: as the two change places, each must hold the
        other.
        """
        for name, parameter in model.named_parameters():
            narrow = parameter.dtype in (torch.bfloat16, torch.float16)
            if narrow and (parameter.requires_grad or self.name == "fp32" or ".originals." in f".{name}"):
                parameter.data = parameter.data.float()


def choose_precision(
    setting: Name | Literal["auto"], device: torch.device | str, num_parameters: int, bf16: bool | None = None
) -> Precision:
    """`auto` is bf16 where the hardware computes in it and the model has over 20 million parameters, else fp32.

    `bf16`: whether it does, where that is said of hardware that is not here.

    Raises:
        Refusal: fp16 without CUDA, where its loss scaling has no use.
    """
    device_type = torch.device(device).type
    if setting == "fp16" and device_type != "cuda":
        raise Refusal(f"training.precision: fp16 trains on CUDA only, this run is on {device_type}; use bf16 or fp32")
    if setting != "auto":
        return Precision(setting, device_type)
    if num_parameters <= SMALL_MODEL:
        return Precision("fp32", device_type, f"auto: {num_parameters:,} parameters")
    if not (has_bf16(device_type) if bf16 is None else bf16):
        return Precision("fp32", device_type, f"auto: no bf16 on this {device_type}")
    return Precision("bf16", device_type, f"auto: {num_parameters:,} parameters, bf16 hardware")


def has_bf16(device_type: str) -> bool:
    """Whether the device multiplies bf16 in hardware."""
    if device_type == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    if device_type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


@dataclass
class LossScale:
    """Dynamic loss scaling for fp16, whose smallest gradients would vanish (Micikevicius et al., 2018).

    Source: arXiv:1710.03740.
    The loss is multiplied by `value` before backward and the gradients divided by it after. A step whose gradients
    overflow is skipped and halves the value; `patience` good steps in a row double it.
    """

    value: float = 2.0**16
    good_steps: int = 0
    patience: int = 2000

    def update(self, finite: bool) -> None:
        """Take note of whether a step's gradients were finite."""
        self.good_steps = self.good_steps + 1 if finite else 0
        if not finite:
            self.value /= 2
        elif self.good_steps >= self.patience:
            self.value, self.good_steps = self.value * 2, 0

    @property
    def exhausted(self) -> bool:
        """Whether overflow can no longer be the scale's fault."""
        return self.value < 1

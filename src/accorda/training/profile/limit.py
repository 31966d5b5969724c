"""What the machine's own matrix product reaches: the limit that a step is held against."""

from time import perf_counter

import torch

SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
REPEATS = 3


def product_peak(dtype: torch.dtype, device: torch.device) -> float:
    """FLOP per second of the fastest of a few square products, with the threads that are set."""
    return max(_fastest(size, dtype, device) for size in SIZES.get(device.type, SIZES["cpu"]))


@torch.no_grad()
def _fastest(size: int, dtype: torch.dtype, device: torch.device) -> float:
    left, right = (torch.full((size, size), 0.5, dtype=dtype, device=device) for _ in range(2))
    torch.mm(left, right)
    took = []
    for _ in range(REPEATS):
        settle(device)
        began = perf_counter()
        torch.mm(left, right)
        settle(device)
        took.append(perf_counter() - began)
    return 2 * size**3 / min(took)


def settle(device: torch.device) -> None:
    """Wait for what a device still computes."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

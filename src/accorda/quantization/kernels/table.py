"""The sixteen values of NF4, and the pair of values that each byte of two codes stands for."""

import torch

NF4 = torch.tensor(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ]
)
_BYTES = torch.arange(256)
PAIRS = torch.stack([NF4[_BYTES >> 4], NF4[_BYTES & 15]], dim=1).view(torch.int64).flatten()
"""(256,): two float32 values in the place of one integer, so that one look-up fetches both."""

"""The losses of twenty steps of three small recipes, as they always were: a refactor proves itself by equal numbers.

After a change that is meant to change them: `python tests/invariant/test_trajectories.py` writes them anew, and the
commit says why.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.zoo import VOCABULARY, make

from accorda.data.batch import Segment
from accorda.data.sampler import Batches
from accorda.methods.contract import Method
from accorda.methods.install import freeze, install, trainable
from accorda.methods.registry import methods
from accorda.models.attention import use_attention
from accorda.training.loop import Loop
from accorda.training.next_token import NextToken
from accorda.training.optimizers.adafactor import Adafactor
from accorda.training.optimizers.adamw import AdamW
from accorda.training.optimizers.contract import Settings
from accorda.training.optimizers.groups import parameter_groups
from accorda.training.rng import seed_all
from accorda.training.schedule import Schedule

STORED = Path(__file__).with_name("trajectories.json")
STEPS = 20


class Rows:
    """Counting up or down, from anywhere: something to learn."""

    def __init__(self) -> None:
        draw = np.random.default_rng(4)
        self.segments = []
        for index in range(30):
            length, start, way = int(draw.integers(4, 20)), int(draw.integers(3, VOCABULARY)), int(draw.choice([-1, 1]))
            ids = ((start - 3 + way * np.arange(length)) % (VOCABULARY - 3) + 3).astype(np.int32)
            self.segments.append(Segment(index, ids, np.arange(length) >= 2, "rows", index + 1))
        self.lengths = np.array([len(segment) for segment in self.segments])
        self.encoder_lengths = np.zeros_like(self.lengths)

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int) -> Segment:
        return self.segments[index]


def trajectory(architecture: str, method: Method, settings: Settings, schedule: str, packed: bool) -> list[float]:
    seed_all(0)
    model = freeze(make(architecture))
    use_attention(model)
    install(model, method)
    optimizer = settings.build(parameter_groups(trainable(model), weight_decay=0.01))
    batches = Batches(Rows(), batch_size=8, micro_tokens=48, packed=packed, seed=1)
    rate = Schedule(schedule, 0.01, STEPS, 2)
    loop = Loop(model=model, objective=NextToken(model), batches=batches, optimizer=optimizer, schedule=rate)
    return [loop.step()["loss"] for _ in range(STEPS)]


RECIPES: dict[str, Callable[[], list[float]]] = {
    "llama-lora-adamw": lambda: trajectory(
        "llama", methods()["lora"](rank=4, target_modules="all-linear"), AdamW(), "cosine", True
    ),
    "gpt2-lora-adafactor": lambda: trajectory(
        "gpt2", methods()["lora"](rank=4, target_modules="all-linear"), Adafactor(), "linear", True
    ),
    "falcon-bitfit-adamw": lambda: trajectory("falcon_new", methods()["bitfit"](), AdamW(), "constant", False),
}


@pytest.mark.parametrize("name", RECIPES)
def test_losses_are_what_they_were(name: str) -> None:
    stored = json.loads(STORED.read_text())[name]
    assert RECIPES[name]() == pytest.approx(stored, rel=1e-6, abs=0)
    assert stored[-1] < stored[0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    STORED.write_text(json.dumps({name: recipe() for name, recipe in RECIPES.items()}, indent=1) + "\n")
    sys.exit()

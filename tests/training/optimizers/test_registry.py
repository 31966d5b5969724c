from pathlib import Path

import pytest
import torch
from torch import nn

from accorda.errors import Refusal
from accorda.training.optimizers.adafactor import Adafactor
from accorda.training.optimizers.adamw import AdamW
from accorda.training.optimizers.adamw_8bit import AdamW8bit
from accorda.training.optimizers.groups import parameter_groups
from accorda.training.optimizers.paged_adamw import PagedAdamW
from accorda.training.optimizers.paged_adamw_8bit import PagedAdamW8bit
from accorda.training.optimizers.registry import optimizers, read


def test_the_folder_is_the_registry_and_every_optimizer_has_a_test() -> None:
    assert optimizers() == {
        "adamw": AdamW,
        "adafactor": Adafactor,
        "adamw_8bit": AdamW8bit,
        "paged_adamw": PagedAdamW,
        "paged_adamw_8bit": PagedAdamW8bit,
    }
    assert all((Path(__file__).parent / f"test_{name}.py").is_file() for name in optimizers())


def test_a_mapping_becomes_the_settings_it_names() -> None:
    assert read({"name": "adamw", "beta2": 0.95}) == AdamW(beta2=0.95)
    assert read({"name": "adafactor"}) == Adafactor()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"name": "adam"}, r"training\.optimizer\.name: no optimizer 'adam'; did you mean adamw\?"),
        ({"name": "sgd"}, "there are: adafactor, adamw"),
        ({"name": "adamw", "beta_2": 0.9}, r"training\.optimizer\.beta_2.*beta2"),
        ({"name": "adamw", "beta1": 1.0}, r"training\.optimizer\.beta1"),
        ({"name": "adafactor", "decay_rate": 0.8}, r"training\.optimizer\.decay_rate"),
    ],
)
def test_refusals_name_setting_and_way_out(setting: dict, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        read(setting)


def test_vectors_are_not_decayed_and_scaled_parameters_stand_apart() -> None:
    named = {
        "A": nn.Parameter(torch.ones(2, 2)),
        "bias": nn.Parameter(torch.ones(2)),
        "B": nn.Parameter(torch.ones(2, 2)),
    }
    groups = parameter_groups(named, weight_decay=0.1, scales={"B": 16.0})
    found = {tuple(g["names"]): (g["weight_decay"], g["scale"]) for g in groups}
    assert found == {("A",): (0.1, 1.0), ("bias",): (0.0, 1.0), ("B",): (0.1, 16.0)}
    with pytest.raises(ValueError, match="do not train: C"):
        parameter_groups(named, scales={"C": 2.0})

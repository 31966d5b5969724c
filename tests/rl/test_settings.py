"""What a rollout's settings say of themselves, and whether it holds."""

import inspect
import re
from dataclasses import fields

import pytest
from tests.rl.enumerable import model_of

from accorda.errors import Refusal
from accorda.methods.install import freeze, install
from accorda.methods.registry import read
from accorda.rl.backends.registry import check
from accorda.rl.registry import algorithms
from accorda.rl.settings import BACKEND, RolloutSettings

OF_HTTP = [one.name for one in fields(RolloutSettings) if one.metadata.get(BACKEND) == "http"]


def test_the_settings_of_a_server_are_the_ones_that_say_so():
    assert OF_HTTP == ["url", "model", "folder", "timeout"]


@pytest.mark.parametrize("name", OF_HTTP)
def test_a_setting_of_another_backend_is_refused(name):
    settings = RolloutSettings(**{name: 5.0 if name == "timeout" else "http://host:1"})
    with pytest.raises(Refusal, match=rf"rollout\.{name} = .*: backend torch has no use for it; set rollout\.backend"):
        check(settings, lambda at: "python")
    check(RolloutSettings(), lambda at: "python")


def test_what_is_told_of_the_temperature_is_so():
    """Algorithms that learn at temperature 1 are named where the setting is explained, and say it themselves."""
    model = model_of(0)
    freeze(model)
    install(model, read({"name": "lora", "rank": 2}))
    told = re.search(r'temperature: .*\n    """(.+)"""', inspect.getsource(RolloutSettings)).group(1)
    for name, cls in algorithms().items():
        objective = cls().objective(model, RolloutSettings(temperature=0.5))
        at_one = getattr(objective, "temperature", 1.0) == 1.0
        assert (name in told) == at_one, name
        if at_one:
            assert "those at temperature 1" in " ".join(inspect.getmodule(cls).__doc__.split())

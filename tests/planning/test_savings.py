"""What is tried to make a run smaller follows the registries, and what saves next to nothing is not listed."""

from dataclasses import replace

import pytest

from accorda.planning import savings
from accorda.planning.bill import Bill, Moment
from accorda.quantization import formats
from accorda.recipe.load import load
from accorda.training.optimizers.registry import optimizers


def bill(size):
    return Bill((Moment.of("training", {"weights": size}),))


def tried(**sections):
    return [settings for settings, _ in savings.candidates(load(sections))]


def test_a_change_that_saves_next_to_nothing_is_left_out():
    recipe = load({"method": {"name": "lora"}, "training": {"precision": "fp32", "micro_batch_size": 1}})
    totals = {"training.precision": 995, "training.gradient_checkpointing": 700}

    def price(other):
        name = next((name for name in totals if other.origin(name) == savings.ORIGIN), None)
        return bill(totals.get(name, 1000))

    found = savings.changes(recipe, bill(1000), price)
    assert [dict(change.settings) for change in found] == [{"training.gradient_checkpointing": True}]


@pytest.mark.parametrize("overhead", [0, 10**6])
def test_what_no_setting_changes_does_not_raise_the_bar(overhead):
    recipe = load({"method": {"name": "lora"}, "training": {"micro_batch_size": 1}})
    sizes = {"weights": 1000, "overhead": overhead}

    def price(other):
        saved = 50 if other.origin("training.gradient_checkpointing") == savings.ORIGIN else 0
        return Bill((Moment.of("training", sizes | {"weights": 1000 - saved}),))

    found = savings.changes(recipe, Bill((Moment.of("training", sizes),)), price)
    assert [change.saves for change in found] == [50]


def test_a_new_number_format_is_tried(monkeypatch):
    three = replace(formats()["int8"], name="int3", num_bytes=lambda out, inputs: out * inputs * 3 // 8)
    monkeypatch.setattr(savings, "formats", lambda: formats() | {"int3": three})
    assert savings.formats_below("none") == [("int8", 8), ("nf4", 4), ("int3", 3)]
    assert savings.formats_below("nf4") == [("int3", 3)]
    assert {"model.quantization": "int3"} in tried(method={"name": "lora"})


@pytest.mark.parametrize("name", sorted(optimizers()))
def test_optimizers_that_hold_less_are_tried(name):
    held = savings.bytes_held(optimizers()[name]())
    less = {
        settings["training.optimizer.name"]
        for settings in tried(method={"name": "lora"}, training={"optimizer": {"name": name}})
        if "training.optimizer.name" in settings
    }
    assert less == {other for other, one in optimizers().items() if savings.bytes_held(one()) < held}


@pytest.mark.parametrize(("method", "replaced"), [("lora", False), ("full", True), ("top_layers", True)])
def test_a_method_that_trains_the_base_is_replaced_before_it_is_packed(method, replaced):
    found = tried(method={"name": method})
    assert ({"method": savings.USUAL, "model.quantization": "nf4"} in found) is replaced
    assert ({"model.quantization": "nf4"} in found) is not replaced

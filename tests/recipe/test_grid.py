"""Which lists are sweeps, and what each run of one is."""

from typing import Any

import pytest

from accorda.errors import Refusal
from accorda.recipe.grid import axes, cells, folder_name
from accorda.recipe.load import merged, merged_keywords
from accorda.recipe.types import PositiveInt

KINDS = {"method.name": [str], "method.rank": [PositiveInt], "method.target_modules": [str | tuple[str, ...]]}


def types_of(name: str, values: Any) -> list[Any]:
    return KINDS.get(name, [])


def found(*overrides: str, source: Any = None) -> list[tuple[str, tuple[Any, ...]]]:
    return [(axis.name, axis.values) for axis in axes(*merged(source, overrides), types_of)]


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("data.limit=[125,250]", (125, 250)),
        ("data.limit=[125,null]", (125, None)),
        ("training.learning_rate=[1e-3, auto]", (0.001, "auto")),
        ("training.schedule=[cosine,linear]", ("cosine", "linear")),
        ("training.seed=[7]", (7,)),
        ("training.gradient_checkpointing=[true,false]", (True, False)),
        ("method.rank=[2,4]", (2, 4)),
        ("method.target_modules=[[q_proj],[q_proj,v_proj]]", (["q_proj"], ["q_proj", "v_proj"])),
        ("evaluation.metrics=[[rouge],[f1, bleu]]", (["rouge"], ["f1", "bleu"])),
    ],
)
def test_a_list_where_one_value_is_taken_is_a_sweep(override, values):
    assert found(override) == [(override.partition("=")[0], values)]


@pytest.mark.parametrize(
    "override",
    [
        "data.limit=125",
        "evaluation.metrics=[rouge,bleu]",
        "evaluation.metrics=[]",
        "evaluation.metrics=[1,2]",
        "training.trackers=[wandb]",
        "method.target_modules=[q_proj,v_proj]",
        "method.target_modules=all-linear",
        "data.train=[a.jsonl,b.jsonl]",
        "data=[a.jsonl,b.jsonl]",
        "data.limit=[]",
        "output=[a,b]",
        "training.no_such_setting=[1,2]",
        "method.no_such_setting=[1,2]",
        "no.such.section=[1]",
    ],
)
def test_a_list_where_lists_are_taken_is_a_setting_and_so_is_what_nobody_knows(override):
    assert found(override) == []


def test_the_short_forms_of_a_method_vary_too():
    assert found("method=[lora,bitfit]", "method.rank=8") == [("method.name", ("lora", "bitfit"))]
    values, origins = merged_keywords(method=["lora", "bitfit"], model="m")
    assert [axis.name for axis in axes(values, origins, types_of)] == ["method.name"]


def test_a_file_may_hold_the_lists(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("data: {limit: [1, 2]}\ntraining: {seed: [0, 1]}\n")
    assert found(source=str(path)) == [("data.limit", (1, 2)), ("training.seed", (0, 1))]


def test_every_combination_is_a_run_with_its_own_folder_values_and_origins():
    values, origins = merged({"data": {"train": "rows.jsonl"}}, ["data.limit=[1,2]", "training.seed=[0,5]"])
    made = cells(values, origins, axes(values, origins, types_of), "out")
    assert [cell.name for cell in made] == ["limit-1_seed-0", "limit-1_seed-5", "limit-2_seed-0", "limit-2_seed-5"]
    assert [(cell.recipe.data.limit, cell.recipe.training.seed) for cell in made] == [(1, 0), (1, 5), (2, 0), (2, 5)]
    assert made[3].values == {"data.limit": 2, "training.seed": 5}
    assert made[3].recipe.output == "out/limit-2_seed-5"
    assert made[3].recipe.origin("data.limit") == "command line: one of [1, 2]"
    assert made[3].recipe.origin("data.train") == "python"
    assert values["data"]["limit"] == [1, 2]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.limit=[125,0]"], "data.limit = 0 (command line: one of [125, 0]): must be a whole number above 0"),
        (["data.limit=[125,many]"], "data.limit = many"),
        (["data.limit=[5,6,5]"], "data.limit = [5, 6, 5] (command line): 5 is there twice"),
        (
            ["training.seed=" + str(list(range(40))), "data.limit=" + str(list(range(1, 41)))],
            "1,600 runs, at most 1,000",
        ),
    ],
)
def test_one_bad_value_refuses_them_all(overrides, words):
    values, origins = merged(None, overrides)
    with pytest.raises(Refusal) as refusal:
        cells(values, origins, axes(values, origins, types_of), "out")
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"training.learning_rate": 0.001}, "learning_rate-0.001"),
        ({"method.name": "lora"}, "method-lora"),
        ({"model.path": "../models/a b"}, "path-models-a-b"),
        ({"training.optimizer.name": "adamw", "method.name": "lora"}, "optimizer-adamw_method-lora"),
        ({"method.rank": 2, "data.rank": 2}, "method.rank-2_data.rank-2"),
        ({"evaluation.metrics": ["f1", "bleu"]}, "metrics-f1+bleu"),
        ({"data.limit": None}, "limit-null"),
        ({"data.template": ".."}, "template-empty"),
    ],
)
def test_folders_are_named_by_what_varies_and_stay_where_they_belong(values, name):
    assert folder_name(values) == name


def test_values_that_look_alike_get_folders_of_their_own():
    values, origins = merged({"data": {"train": "rows.jsonl"}}, ['data.format=["a b","a-b"]'])
    assert [cell.name for cell in cells(values, origins, axes(values, origins, types_of), "out")] == [
        "format-a-b",
        "format-a-b.2",
    ]

"""What files say as text is what the registries hold, and all of it stands in the settings' sentences."""

import os
import shutil
import subprocess
import sys

import pytest

from accorda.data.chat import built_in
from accorda.data.formats import formats
from accorda.data.preferences.columns import FOLDER as COMPARISONS
from accorda.data.prompts.columns import FOLDER as PROMPTS
from accorda.evaluation.registry import metrics
from accorda.objectives.preference import registry as preference
from accorda.quantization import formats as number_formats
from accorda.recipe import registries
from accorda.recipe.explain import SAYS
from accorda.rl import registry as rl
from accorda.stages.contract import Stage, stages
from accorda.stages.rows import KINDS
from accorda.training.optimizers.registry import optimizers
from accorda.training.trackers.follow import trackers

NEEDS = sorted({metric.needs for metric in metrics().values()})
READ = {
    "stages": (list(registries.stages()), stages()),
    "optimizers": (registries.optimizers(), optimizers()),
    "trackers": (registries.trackers(), trackers()),
    "formats": (registries.row_formats(), formats()),
    "formats of comparisons": (registries.row_formats("preferences"), formats(COMPARISONS)),
    "formats of prompts": (registries.row_formats("prompts"), formats(PROMPTS)),
    "templates": (registries.templates(), built_in()),
    "algorithms of preference": (registries.preference_algorithms(), preference.algorithms()),
    "algorithms of rl": (registries.rl_algorithms(), rl.algorithms()),
    **{
        f"metrics of {needs}": (
            registries.metrics(needs),
            [name for name, metric in metrics().items() if metric.needs == needs],
        )
        for needs in NEEDS
    },
}
NAMED = {
    "stage": stages(),
    "training.optimizer": optimizers(),
    "training.trackers": trackers(),
    "data.format": [*formats(), *formats(COMPARISONS), *formats(PROMPTS)],
    "data.template": built_in(),
    "model.quantization": number_formats(),
    "evaluation.metrics": metrics(),
    "algorithm.name": [*preference.algorithms(), *rl.algorithms()],
}


@pytest.mark.parametrize("registry", READ)
def test_the_files_say_what_the_registry_holds(registry):
    told, held = READ[registry]
    assert told
    assert told == sorted(held)


@pytest.mark.parametrize("setting", NAMED)
def test_a_setting_names_all_it_chooses_from(setting):
    words = SAYS[setting].replace(",", " ").replace(";", " ").split()
    assert [name for name in NAMED[setting] if name not in words] == []


def test_a_stage_of_a_new_file_may_stand_in_a_recipe(tmp_path):
    """In a copy of the package, without torch: the recipe takes it, and a near miss is told its name."""
    package = shutil.copytree(registries.PACKAGE, tmp_path / "accorda", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "stages" / "distil.py").write_text('"""Distillation: learn what a teacher says."""\n\nSTAGE = None\n')
    code = (
        "import sys; from accorda.recipe.load import load; from accorda.recipe.explain import SAYS\n"
        "told = 'distil (learn what a teacher says)' in SAYS['stage']\n"
        "print(load({'stage': 'distil'}).stage, told, 'torch' in sys.modules)\n"
        "load({'stage': 'distill'})"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["distil", "True", "False"], done.stderr
    assert "did you mean distil?" in done.stderr


def test_every_stage_names_a_kind_of_rows():
    for stage in stages().values():
        assert isinstance(stage, Stage)
        assert stage.kind is KINDS[stage.rows]


def test_a_metric_must_say_what_it_needs(tmp_path):
    (tmp_path / "odd.py").write_text("class Odd:\n    pass\n")
    with pytest.raises(ValueError, match="does not say what it needs"):
        registries._needs(tmp_path / "odd.py")


def test_a_list_in_words():
    assert registries.listed(["a"]) == "a"
    assert registries.listed(["a", "b", "c"]) == "a, b or c"

"""Rows about prompts, compared answers and prompts alone, are divided and left out by the same rules."""

import pytest
from tests.zoo import tiny_tokenizer

from accorda.data.by_prompt import PreparationByPrompt
from accorda.data.preferences.dataset import prompt_of
from accorda.data.preferences.prepare import PreferencePreparation
from accorda.data.preferences.renderer import PreferenceRenderer
from accorda.data.prompts.prepare import PromptPreparation
from accorda.data.prompts.renderer import PromptRenderer
from accorda.data.settings import Settings
from accorda.errors import Refusal
from accorda.recipe.sections import DataSection

ASKED = [f"{number} is " for number in range(12)]
KINDS = {
    "preference": (PreferencePreparation, PreferenceRenderer, {"chosen": "one", "rejected": "two or three"}),
    "rl": (PromptPreparation, PromptRenderer, {}),
}


@pytest.fixture(params=KINDS)
def prepared(request, tmp_path):
    kind, renderer, answers = KINDS[request.param]

    def make(prompts, max_length=64, **section):
        rows = [{"prompt": prompt, **answers} for prompt in prompts]
        section = DataSection(train=rows, **section)
        return kind(Settings(section, renderer(tiny_tokenizer()), max_length, request.param, 0, tmp_path))

    return make


def test_the_rules_are_written_once():
    for kind, _, _ in KINDS.values():
        assert issubclass(kind, PreparationByPrompt)
        assert not {"_fit", "_apart"} & set(vars(kind))


def test_rows_of_one_prompt_stand_on_one_side(prepared):
    making = prepared([*ASKED, *ASKED, *ASKED], eval_split=0.4)
    learned, held = (
        {prompt_of(data.example(row)) for row in range(len(data))} for data in (making.train(), making.held())
    )
    assert held
    assert not learned & held
    assert len(learned | held) == len(ASKED)


def test_what_does_not_fit_is_left_out_whole(prepared):
    data = prepared([*ASKED, "very " * 60], eval_split=0.0).train()
    assert len(data) == len(ASKED)
    assert data.report.rows["overlong"] == 1


@pytest.mark.parametrize("policy", ["truncate", "truncate_prompt"])
def test_cutting_is_refused(prepared, policy):
    with pytest.raises(Refusal, match=f"data.overlong = {policy}: .*; say skip or error, or raise data.max_length"):
        prepared(ASKED, overlong=policy)

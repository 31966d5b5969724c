"""What a stage is: which rows it reads and what it minimises. The rest of a run is the same for all of them."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accorda.data.renderer import Renderer
from accorda.data.sampler import Batches
from accorda.errors import Refusal
from accorda.evaluation import during_training
from accorda.evaluation.side_by_side import side_by_side
from accorda.methods.open import Opened
from accorda.models.labels import Labels
from accorda.planning.judge import Judge
from accorda.recipe.sections import Recipe
from accorda.stages.rows import KINDS, Data, Rows
from accorda.training.loop import Objective
from accorda.training.objective import Making
from accorda.training.session import Session

Evaluate = Callable[[], dict[str, Any]]


def effective_batch(session: Session) -> dict[str, Any]:
    """What an optimizer step comes to: its rows, and the forward passes of the first one."""
    rows = min(session.recipe.training.batch_size, len(session.train))
    return {"rows_per_step": rows, "passes_of_first_step": len(session.batches.groups(0))}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a model's life.

    rows: the kind of rows it learns from, of those in `stages/rows.py` ("sft": prompt and completion, ...).
    objective: gives, for a recipe, what makes of a model with its method installed (model, batch) -> the summed loss in
        nats.
    labels: what a classification head must tell apart, from the recipe's rows; None for a language head.
    settle: decides what this stage alone decides of a recipe, given those labels.
    opened: does what this stage must do to a model that was just opened, before its method is installed.
    padded: why rows are padded and never packed; None where they may be packed.
    evaluator: makes, of a session, what its loop calls to evaluate.
    samples: of a session and a number of seconds, a few rows with what the model says to them.
    carried: of a session, what makes its loop's batches out of the model as it is; None where they are rows as read.
    check: refuses what only this stage's runs would find wrong, before a session's first step.
    beside: of a recipe, its renderer and its batches, ordinary rows that every step learns, too; None: none.
    arithmetic: of a session, what an optimizer step comes to, for result.json and for people.
    phases: of a recipe, how its prompts are answered: the settings of `PromptBatches` that rows do not have.
    thumbs: of a recipe, whether answers are learned from by themselves, liked or not, and not side by side.
    judges: of a recipe, the policy and (answers at once, prompt, new tokens), the reward models that a bill counts.
    reported: the numbers that the evaluator gives beside metrics.
    """

    rows: str
    objective: Callable[[Recipe], Callable[[PreTrainedModel], Objective]]
    labels: Callable[[Recipe], Labels | None] = lambda recipe: None
    settle: Callable[[Recipe, Labels | None], Recipe] = lambda recipe, labels: recipe
    opened: Callable[[Opened, Recipe], None] = lambda opened, recipe: None
    padded: str | None = None
    evaluator: Callable[[Any], Evaluate | None] = during_training.evaluator
    samples: Callable[[Any, float], dict[str, Any] | None] = side_by_side
    carried: Callable[[Session], Making | None] = lambda session: None
    check: Callable[[Session], None] = lambda session: None
    beside: Callable[[Recipe, Renderer, Batches], Batches | None] = lambda *_: None
    arithmetic: Callable[[Session], dict[str, Any]] = effective_batch
    phases: Callable[[Recipe], dict[str, Any]] = lambda recipe: {}
    thumbs: Callable[[Recipe], bool] = lambda recipe: False
    judges: Callable[[Recipe, PreTrainedModel, tuple[int, int, int]], tuple[Judge, ...]] = lambda *_: ()
    reported: tuple[str, ...] = ()

    @property
    def kind(self) -> Rows:
        """How such rows are read, batched, and assumed in a plan."""
        return KINDS[self.rows]

    def read(
        self, recipe: Recipe, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, labels: Labels | None
    ) -> Data:
        """The rows of a recipe as tokens."""
        alone = {"thumbs": True} if self.thumbs(recipe) else {}
        return self.kind.read(recipe, model, tokenizer, labels, **alone)


@cache
def stages() -> dict[str, Stage]:
    """Every stage by the name of its file: the modules of this folder that define `STAGE`."""
    package = importlib.import_module("accorda.stages")
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    loaded = {name: importlib.import_module(f"accorda.stages.{name}") for name in names}
    return {name: module.STAGE for name, module in loaded.items() if hasattr(module, "STAGE")}


def find_stage(name: str) -> Stage:
    """The stage of that name.

    Raises:
        Refusal: this version has no such stage.
    """
    if name not in stages():
        raise Refusal(f"stage = {name}: this version has no such stage; choose one of {', '.join(sorted(stages()))}")
    return stages()[name]

"""What a stage made of a recipe: everything a run, its proofs and its evaluation need, and nothing that builds it."""

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accorda.data.dataset import Dataset
from accorda.data.renderer import Renderer
from accorda.data.sampler import Batches
from accorda.methods.contract import Method
from accorda.recipe.sections import Recipe
from accorda.runs.layout import RunFolder
from accorda.training.loop import Loop, Objective


@dataclass(kw_only=True, eq=False)
class Session:
    """One run, ready to step. Built by a stage; read by whoever proves, evaluates or continues it.

    `method` is what is installed, several of them composed as a tuple, empty where none is (a model trained whole by
    hand). `objective` is the loop's. `notes` are facts for the result and the report that no other field has.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    renderer: Renderer
    method: tuple[Method, ...]
    recipe: Recipe
    train: Dataset
    eval: Dataset | None
    batches: Batches
    objective: Objective
    loop: Loop
    folder: RunFolder
    device: torch.device
    notes: dict[str, Any] = field(default_factory=dict)

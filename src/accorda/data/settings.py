"""What decides the datasets of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from accorda.data.renderer import Renderer
from accorda.recipe.sections import DataSection

Split = Literal["train", "eval"]
Stage = Literal["sft", "pretrain", "classify", "preference", "rl"]


@dataclass(frozen=True, eq=False)
class Settings:
    """A recipe's data section, with what other parts of the recipe and the model say.

    `strict` False: nothing is refused for its rows, so that a report can say everything about them.
    """

    section: DataSection
    renderer: Renderer
    max_length: int
    stage: Stage = "sft"
    seed: int = 0
    store_folder: Path | str | None = None
    strict: bool = True

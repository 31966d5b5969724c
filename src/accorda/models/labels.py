"""What a classification head tells apart: the names of its classes, or one number (regression)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from transformers import PretrainedConfig, PreTrainedModel

HEADED = "ForSequenceClassification"


@dataclass(frozen=True)
class Labels:
    """The classes in the order of the head's outputs; without names the head has one output, a number."""

    names: tuple[str, ...] = ()

    NUMBER: ClassVar[str] = "number"

    @property
    def is_number(self) -> bool:
        """Whether a number is predicted instead of a class."""
        return not self.names

    @property
    def num_outputs(self) -> int:
        """Outputs of the head."""
        return len(self.names) or 1

    def put(self, config: PretrainedConfig) -> None:
        """Write them into a configuration, as transformers reads them."""
        names = self.names or (self.NUMBER,)
        config.id2label = dict(enumerate(names))
        config.label2id = {name: number for number, name in enumerate(names)}
        config.problem_type = "regression" if self.is_number else "single_label_classification"

    @staticmethod
    def of(config: PretrainedConfig) -> "Labels":
        """Those of a configuration."""
        named: dict[Any, str] = config.id2label or {}
        return Labels(tuple(str(named[number]) for number in sorted(named)) if len(named) > 1 else ())

    def told(self, most: int = 5) -> str:
        """For a message: `neg, pos`."""
        if self.is_number:
            return "a number"
        more = len(self.names) - most
        return ", ".join(self.names[:most]) + (f" and {more} more" if more > 0 else "")


def brings_head(config: PretrainedConfig) -> bool:
    """Whether a checkpoint of this configuration brings a classification head."""
    return any(name.endswith(HEADED) for name in config.architectures or ())


def is_classifier(model: PreTrainedModel) -> bool:
    """Whether a model has a classification head."""
    return type(model).__name__.endswith(HEADED)


def ordered(names: Iterable[str]) -> Sequence[str]:
    """Each name once: whole numbers by their size, other names by their text."""
    once = set(names)
    try:
        return sorted(once, key=int)
    except ValueError:
        return sorted(once)

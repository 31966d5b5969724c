"""What an answer is worth: a Python function, a trained reward model, or a weighted sum of several.

A reward that cannot be given (the function raised, or what it gave is no finite number) does not stop a run: the log
names the prompt, the answer is left out of what is learned, and its step counts it.
"""

import importlib.util
import inspect
import logging
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain, count
from pathlib import Path
from traceback import walk_tb
from types import ModuleType
from typing import Any

from torch import Tensor

from accorda.data.prompts.experience import Sample
from accorda.errors import Refusal
from accorda.recipe.words import shown

logger = logging.getLogger(__name__)
SHOWN = 60  # characters of a prompt that is named
NAMED = 5  # answers of a phase that could not be judged; the others are counted
GIVEN = ("prompt", "completion")  # what a function can always have


@dataclass(frozen=True, eq=False)
class Said:
    """An answer to be judged: `prompt` is a text, or messages as a row has them; `columns` the row's others."""

    prompt: str | list[dict[str, Any]]
    completion: str
    sample: Sample
    columns: Mapping[str, Any] = field(default_factory=dict)

    def place(self) -> str:
        """File, line and beginning of the prompt."""
        text = self.prompt if isinstance(self.prompt, str) else str(self.prompt[-1].get("content", ""))
        text = " ".join(text.split())
        return f"{self.sample.file}:{self.sample.line} ({text[:SHOWN]!r}{'...' if len(text) > SHOWN else ''})"


class Reward(ABC):
    """Judges answers."""

    frozen: Mapping[str, Tensor] = {}
    """Its tensors, which nothing may change; none of a function."""
    watched: Mapping[str, Sequence[float]] = {}
    """What judges of weight 0 said of the answers that were judged last, by the names they go by."""
    trouble: str = ""
    """Why the first of the answers judged last that has no reward has none."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """A hash of what it judges by; another judge has another one."""

    @abstractmethod
    def judge(self, answers: Sequence[Said]) -> list[float]:
        """A number for each; not a number where there is none, after the log has said why."""


class FunctionReward(Reward):
    """A function `(prompt, completion, ...) -> number`; of the row's columns it gets those that it names.

    One that takes `**columns` gets all of them. Its identity is that of its file's text; what the file imports is not
    looked at.
    """

    def __init__(self, function: Callable[..., Any], name: str, text: bytes = b"") -> None:
        self.function, self.name, self.text = function, name, text
        self.unjudged, self.told = 0, set[str]()
        parameters = inspect.signature(function).parameters.values()
        self.takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
        named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
        self.takes = {one.name for one in named}
        self.needs = [one.name for one in named if one.default is one.empty and one.name not in GIVEN]

    @property
    def identity(self) -> str:
        return sha256(self.text).hexdigest()

    def judge(self, answers: Sequence[Said]) -> list[float]:
        self.trouble, self.unjudged, self.told = "", 0, set()
        found = [self._one(answer) for answer in answers]
        if self.unjudged > len(self.told):
            more, each = self.unjudged - len(self.told), len(answers)
            logger.warning("reward %s: %d more of these %d answers could not be judged", self.name, more, each)
        return found

    def require_columns(self, columns: Mapping[str, Any], place: str) -> None:
        """Refuse a function that asks for a column which a row has not.

        Raises:
            Refusal: that, with what the row has.
        """
        for name in self.needs:
            if name not in columns:
                has = ", ".join(columns) or "no column beside the prompt"
                mend = "give the rows that column, or the parameter a default"
                if name.removesuffix("s") in GIVEN:
                    mend = "it is asked about one answer at a time: take `prompt` and `completion`, and give one number"
                raise Refusal(
                    f"reward = {self.name}: the function asks for `{name}`, and the row at {place} has {has}; {mend}"
                )

    def _one(self, answer: Said) -> float:
        given = dict(zip(GIVEN, (answer.prompt, answer.completion), strict=True))
        taken = {
            name: value for name, value in {**answer.columns, **given}.items() if name in self.takes or self.takes_all
        }
        try:
            said = self.function(**taken)
        except (Exception, SystemExit) as error:
            return self._none(answer, f"{type(error).__name__}: {error}{_line_of(error, self.function)}")
        try:
            found = float(said)
        except (TypeError, ValueError):
            return self._none(answer, f"gave {shown(said)}, which is no number")
        return found if math.isfinite(found) else self._none(answer, f"gave {found!r}, which is no finite number")

    def _none(self, answer: Said, why: str) -> float:
        self.unjudged += 1
        line = f"{answer.place()}: {why}"  # often the same for several answers to a prompt
        if len(self.told) < NAMED and line not in self.told:
            self.told.add(line)
            logger.warning("reward %s: %s", self.name, line)
        self.trouble = self.trouble or why
        return math.nan


def _line_of(error: BaseException, function: Callable[..., Any]) -> str:
    """` (file.py:12)`, the last line of the function's own file that an error went through; nothing where none did."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return f" ({Path(file).name}:{lines[-1]})" if file and lines else ""


class WeightedReward(Reward):
    """The weighted sum of several; not a number where one of them is not.

    One of weight 0 is only watched: the figures tell what it says, and it decides nothing.
    """

    def __init__(self, parts: Sequence[tuple[Reward, float]], names: Sequence[str] = ()) -> None:
        self.parts, self.names = parts, told_apart(names or [str(number) for number in range(len(parts))])
        self.frozen = {
            f"{number}.{name}": tensor
            for number, (reward, _) in enumerate(parts)
            for name, tensor in reward.frozen.items()
        }

    @property
    def identity(self) -> str:
        return sha256("".join(reward.identity for reward, _ in self.parts).encode()).hexdigest()

    def judge(self, answers: Sequence[Said]) -> list[float]:
        totals, self.watched, self.trouble = [0.0] * len(answers), {}, ""
        for name, (reward, weight) in zip(self.names, self.parts, strict=True):
            said = reward.judge(answers)
            if weight:
                self.trouble = self.trouble or reward.trouble
                totals = [total + weight * found for total, found in zip(totals, said, strict=True)]
            else:
                self.watched = {**self.watched, f"watched/{name}": said}
        return totals


def told_apart(names: Sequence[str]) -> list[str]:
    """The names, each that stood before with its number behind it: score, score_2."""
    found = list[str]()
    for name in names:
        again = (f"{name}_{number}" for number in count(2))
        found.append(next(one for one in chain([name], again) if one not in found))
    return found


def function_of(path: str, *, at: str = "reward") -> FunctionReward:
    """The function that `path.py:function` names.

    Raises:
        Refusal: no such file or function, or it does not take a prompt and a completion.
    """
    file, _, name = path.rpartition(":")
    place = Path(file).expanduser()
    if not place.is_file():
        raise Refusal(f"{at} = {path}: no file {file}; a function is named path.py:function, a reward model by its run")
    module = _module(place, f"{at} = {path}")
    function = getattr(module, name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise Refusal(f"{at} = {path}: {file} defines no function {name}; it defines {', '.join(known) or 'none'}")
    made = FunctionReward(function, path, place.read_bytes())
    if not made.takes_all and not {"completion"} <= made.takes:
        raise Refusal(f"{at} = {path}: {name} must take `completion` (and may take `prompt` and columns of the rows)")
    return made


def _module(place: Path, at: str) -> ModuleType:
    """The file, run as Python runs one: it may import what lies beside it."""
    spec = importlib.util.spec_from_file_location(f"accorda_reward_{place.stem}", place)
    if spec is None or spec.loader is None:
        raise Refusal(f"{at}: {place} is no Python file; a function is named path.py:function")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up by name
    if (folder := str(place.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise Refusal(f"{at}: {place} cannot be run: {type(error).__name__}: {error}") from error
    return module


@dataclass(frozen=True, kw_only=True)
class Named:
    """One entry of a recipe's `reward`: a function or a reward model, and what it weighs."""

    source: str
    weight: float = 1.0

    @property
    def name(self) -> str:
        """What it goes by in figures: the function's name, or the run's."""
        return self.source.rpartition(":")[2] if self.is_function else Path(self.source).name

    @property
    def is_function(self) -> bool:
        """Whether it names a function in a file."""
        return self.source.rpartition(":")[0].endswith(".py")


def named(value: Any, origin: str = "") -> list[Named]:
    """What a recipe's `reward` names: one source, or a list of sources or {source, weight}.

    Raises:
        Refusal: nothing, or something else.
    """
    from accorda.recipe.reader import read

    where = f" ({origin})" if origin else ""
    if value is None:
        raise Refusal("reward: missing; name a function (reward=path.py:function) or a run of stage reward")
    listed = value if isinstance(value, list | tuple) else [value]
    if not listed:
        raise Refusal(f"reward{where}: an empty list; name a function or a run of stage reward")
    found = []
    for number, entry in enumerate(listed):
        entry = {"source": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, Mapping):
            raise Refusal(f"reward{where}: {entry!r} names neither a function (path.py:function) nor a run")
        part = read(Named, entry, at=f"reward[{number}]")
        if part.source.endswith(".py"):
            raise Refusal(
                f"reward = {part.source}{where}: which function of it? name it behind a colon: path.py:function"
            )
        found.append(part)
    return found

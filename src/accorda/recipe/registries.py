"""What the package's registries hold, by the names of their folders' files, read as text: no torch is imported."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from accorda.recipe.named import defining, from_papers, holding

PACKAGE = Path(__file__).parents[1]
METRICS = PACKAGE / "evaluation" / "metrics"


@cache
def stages() -> tuple[str, ...]:
    """What `stage` may be."""
    return tuple(defining(PACKAGE / "stages", "STAGE"))


def stages_in_words() -> str:
    """The stages, each with what its file's docstring begins with: what stands behind the colon, if there is one."""
    heads = {name: (PACKAGE / "stages" / f"{name}.py").read_text(encoding="utf-8") for name in stages()}
    found = {name: re.match(r'"""(?:[^:\n]*: )?([^,;.\n]*)', head) for name, head in heads.items()}
    return listed(f"{name} ({match[1]})" if match else name for name, match in found.items())


def optimizers() -> list[str]:
    """What `training.optimizer.name` may be."""
    found = holding(PACKAGE / "training" / "optimizers", "\n    def build(self, groups: Groups)")
    return [name for name in found if name != "contract"]


def trackers() -> list[str]:
    """What `training.trackers` may list."""
    return holding(PACKAGE / "training" / "trackers", "(Tracker):\n")


def row_formats(of: str = "") -> list[str]:
    """What `data.format` may be: of rows to learn from, of `preferences` or of `prompts`."""
    return holding(PACKAGE / "data" / of / "formats", "\ndef detect(")


def templates() -> list[str]:
    """The built-in chat templates."""
    return sorted(file.stem for file in (PACKAGE / "data" / "templates").glob("*.jinja"))


def metrics(*needs: str) -> list[str]:
    """The metrics of what a row is judged by: likelihood, generations, classes, numbers, preferences."""
    return [file.stem for file in sorted(METRICS.glob("*.py")) if file.stem != "__init__" and _needs(file) in needs]


def _needs(file: Path) -> str:
    """What a metric's class says that it needs, in its file or in that of the class it derives from."""
    text = file.read_text(encoding="utf-8")
    if found := re.search(r'^    needs: ClassVar\[Needs\] = "(\w+)"', text, re.MULTILINE):
        return found[1]
    base = re.search(r"^class \w+\((\w+)\)", text, re.MULTILINE)
    home = base and re.search(rf"^from accorda\.(\S+) import .*\b{base[1]}\b", text, re.MULTILINE)
    if not home:
        raise ValueError(f"{file}: its metric does not say what it needs")
    return _needs(PACKAGE / f"{home[1].replace('.', '/')}.py")


def preference_algorithms() -> list[str]:
    """What `algorithm.name` may be at stage preference."""
    return list(from_papers(PACKAGE / "objectives" / "preference"))


def rl_algorithms() -> list[str]:
    """What `algorithm.name` may be at stage rl."""
    return list(from_papers(PACKAGE / "rl"))


def listed(names: Iterable[str], last: str = "or") -> str:
    """`a, b or c`."""
    *first, final = names
    return f"{', '.join(first)} {last} {final}" if first else final

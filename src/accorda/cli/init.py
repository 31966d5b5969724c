"""Write a commented recipe with every setting of a stage, to edit and to run.

NAME is a stage (sft, preference, rl, ...) or the common name of something to do: a method (lora, full, bitfit, ...)
means supervised fine-tuning with it, an algorithm the stage it belongs to: dpo, ipo, kto, orpo, simpo, ... the stage
preference, ppo, grpo, rloo, ... the stage rl.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accorda.cli.terminal.new_file import new_file
from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.parser import filled
from accorda.errors import Refusal
from accorda.recipe.registries import stages
from accorda.recipe.words import meant, shown

PACKAGE = Path(__file__).resolve().parents[1]
FORMATS = {"qlora": ("lora", "nf4")}  # a name, the method it means, and the number format of the base
NAMES = {  # other names of stages and algorithms
    "classification": "classify",
    "reward_model": "reward",
    "rm": "reward",
    "rlhf": "ppo",
    "raft": "rejection_sampling",
}
SAMPLING = {  # names of ways to sample, which train nothing, and what does it
    "best_of_n": "accorda eval RUN --best-of N, of a run of stage rl; to learn from the best answers: "
    "accorda init rejection_sampling",
}
OWN: dict[str, dict[str, Any]] = {  # settings that a stage alone has
    "classify": {"algorithm.labels": "auto"},
    "reward": {"algorithm.centring": 0.0},
    "preference": {"algorithm.name": "dpo"},
    "rl": {"algorithm.name": "rloo", "evaluation.best": "reward"},
}
ALGORITHMS = {"preference": PACKAGE / "objectives" / "preference", "rl": PACKAGE / "rl"}
KINDS = ("Algorithm", "PairAlgorithm", "PolicyAlgorithm", "ClippedTokens")
ABOVE = {"PolicyAlgorithm": ("Algorithm",), "ClippedTokens": ("PolicyAlgorithm", "Algorithm")}  # of those with settings
REWARD = "who judges: path.py:function, a run of stage reward, or a list of {source, weight}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The name, and what can be filled in at once."""
    parser.add_argument("name", nargs="?", metavar="NAME", help=names())
    parser.add_argument("--model", metavar="M", type=filled, help="hub id, model folder, adapter folder or run")
    parser.add_argument("--data", metavar="F", type=filled, help="the training rows")
    parser.add_argument("--method", metavar="N", type=filled, help="a name that accorda methods lists")
    parser.add_argument("--lr", metavar="X", type=filled, help="learning rate, where none is known for the method")
    parser.add_argument(
        "--run", metavar="DIR", type=filled, help="the run folder; default: runs/<date>-<stage>-<method>"
    )
    parser.add_argument("--output", metavar="FILE", type=filled, help="the recipe's file; default: NAME.yaml")


def names() -> str:
    """What NAME may be."""
    return f"{', '.join(stages())}; an algorithm: {', '.join(algorithms())}; a method: {', '.join(methods())}"


def run(arguments: argparse.Namespace) -> Outcome:
    """Write the file; one that exists is never replaced."""
    from accorda.methods.outline import outline
    from accorda.recipe.load import load
    from accorda.recipe.parse import parse_value
    from accorda.recipe.template import commented
    from accorda.runs.files import write_text

    if arguments.name is None:
        raise Refusal(f"NAME: missing; {there()}")
    flags = meaning(arguments.name.lower().replace("-", "_"), arguments.method)
    path = new_file(arguments.output or f"{arguments.name}.yaml")
    given = {"model.path": arguments.model, "data.train": arguments.data, "output": arguments.run}
    if arguments.lr is not None:
        given["training.learning_rate"] = parse_value(arguments.lr, "training.learning_rate")
    recipe = load(None, flags=flags | {name: value for name, value in given.items() if value is not None})
    method = outline(recipe.method["name"])
    require_rate(recipe)
    recipe = recipe.with_settings("method", method.defaults)
    says = {f"method.{setting.name}": setting.says for setting in method.settings}
    for section, settings in of_stage(recipe).items():
        recipe = recipe.with_settings(section, {setting.name: setting.default for setting in settings})
        says |= {f"{section}.{setting.name}": setting.says for setting in settings}
    says |= {"reward": REWARD} if recipe.stage == "rl" else {}
    how = way_to_run(path, arguments.model, arguments.data, judged=recipe.stage == "rl")
    write_text(path, commented(recipe, how, says))
    return Outcome(result={"status": "written", "path": str(path), "run": how}, text=f"wrote {path}; {how}")


def of_stage(recipe: Any) -> dict[str, tuple[Any, ...]]:
    """The settings by section that the recipe's stage and algorithm have, as their files say."""
    from accorda.methods.outline import settings_in

    if recipe.stage not in ALGORITHMS:
        return {}
    own = settings_in(algorithms(recipe.stage)[recipe.algorithm["name"]], KINDS)
    if recipe.stage != "rl":
        return {"algorithm": own}
    file = ALGORITHMS["rl"] / "contract.py"
    shared = [one for above in ABOVE.get(kind_of(recipe.algorithm["name"]), ()) for one in settings_in(file, (above,))]
    others = tuple(setting for setting in shared if setting.name not in {one.name for one in own})
    return {"algorithm": (*own, *others), "rollout": settings_in(ALGORITHMS["rl"] / "settings.py", ("",))}


def kind_of(name: str) -> str:
    """The kind that an algorithm of stage rl derives from, as its file says."""
    text = algorithms("rl")[name].read_text(encoding="utf-8")
    return next(kind for kind in KINDS if f"({kind}):\n" in text)


def meaning(name: str, method: str | None) -> dict[str, Any]:
    """The settings that a name stands for.

    Raises:
        Refusal: nothing of that name, nothing yet, or two methods.
    """
    if name in SAMPLING:
        raise Refusal(f"NAME = {name}: a way of sampling, which trains nothing: {SAMPLING[name]}")
    name = NAMES.get(name, name)
    named: dict[str, Any] = {"stage": name, **OWN.get(name, {})}
    if name in FORMATS:
        means, number_format = FORMATS[name]
        if not (PACKAGE / "quantization" / f"{number_format}.py").is_file():
            raise Refusal(f"NAME = {name}: needs bases in {number_format}, which this version does not have; {there()}")
        named = {"stage": "sft", "method.name": means, "model.quantization": number_format}
    elif name in methods():
        named = {"stage": "sft", "method.name": name}
    elif name in algorithms():
        stage = next(stage for stage in ALGORITHMS if name in algorithms(stage))
        named = {"stage": stage, **OWN[stage], "algorithm.name": name}
    elif name not in stages():
        near = meant(name, [*stages(), *methods(), *algorithms(), *FORMATS]) or f"; {there()}"
        raise Refusal(f"NAME = {shown(name)}: no such stage, method or algorithm{near}")
    if method is not None and named.get("method.name", method) != method:
        raise Refusal(f"--method {method}: {name} means the method {named['method.name']}; say one of them")
    if method is not None and method not in methods():
        near = meant(method, methods()) or f"; there are {', '.join(methods())}"
        raise Refusal(f"--method {shown(method)}: no such method{near}")
    return named | ({"method.name": method} if method else {})


def way_to_run(path: Path, model: str | None, data: str | None, judged: bool = False) -> str:
    """The command that trains by the recipe, whatever of it is filled in; `judged`: it needs a reward, too."""
    missing = [("model.path", "--model M", model), ("data.train", "--data F", data)]
    missing += [("reward", "reward=R", None)] if judged else []
    open_ones = [name for name, _, value in missing if value is None]
    names = " and ".join([", ".join(open_ones[:-1]), *open_ones[-1:]] if len(open_ones) > 1 else open_ones)
    flags = "".join(f" {flag}" for _, flag, value in missing if value is None)
    line = f"run it with: accorda train {path}"
    return f"fill in {names}, then {line}; or give them there: accorda train {path}{flags}" if names else line


def require_rate(recipe: Any) -> None:
    """Refuse to write a recipe whose learning rate nobody knows."""
    method, rate = recipe.method["name"], recipe.training.learning_rate
    if rate == "auto" and not all(method in rates.get(recipe.stage, {}) for rates in known_rates()):
        raise Refusal(f"--lr: missing; no learning rate is known for {method} at stage {recipe.stage}, so give one")


def known_rates() -> list[Mapping[str, Mapping[str, Any]]]:
    """By stage and method: the rates of small models, and those of middle ones, where `train` looks for `auto`."""
    from accorda.methods.outline import relatives
    from accorda.recipe.rates import borrowed, learning_rates, rates_of

    table, kin = learning_rates(), relatives()
    sizes = [table[part]["most_parameters"] for part in ("small", "middle")]
    return [
        {stage: borrowed(table, stage, size, rates_of(table, stage, size), kin) for stage in stages()} for size in sizes
    ]


def methods() -> list[str]:
    """The methods there are."""
    from accorda.methods.outline import files

    return list(files())


def algorithms(stage: str | None = None) -> dict[str, Path]:
    """The file of every algorithm by name: of a stage, or of all that have some."""
    from accorda.recipe.named import from_papers

    folders = ALGORITHMS.values() if stage is None else [ALGORITHMS[stage]]
    return {name: file for folder in folders for name, file in from_papers(folder).items()}


def there() -> str:
    """What can be written."""
    return (
        f"there are the stages {', '.join(stages())}, the algorithms {', '.join(algorithms())} and the methods "
        f"{', '.join(methods())}"
    )

"""What reward models add to the bill of stage rl: their weights, and the pass in which they read answers."""

from math import prod
from pathlib import Path

from safetensors import safe_open
from transformers import PreTrainedModel

from accorda.methods.install import installed, own_tensors
from accorda.methods.locate import locate
from accorda.methods.open import open_model
from accorda.methods.shell import fits
from accorda.methods.storage.files import TENSORS
from accorda.planning.judge import Judge
from accorda.planning.workload import Workload
from accorda.recipe.sections import Recipe
from accorda.rl.reward import named
from accorda.rl.reward_model import TOKENS

FP32 = 4  # bytes: what an adapter beside others is held in


def judges(recipe: Recipe, model: PreTrainedModel, answers: tuple[int, int, int]) -> tuple[Judge, ...]:
    """The reward models of a recipe, which judge `answers` (sampled at once, prompt, new tokens) beside this policy."""
    _, prompt, new = answers
    length = prompt + new + 1  # an answer that was cut off gets the token that ends one
    completions = recipe.training.batch_size * recipe.rollout["num_generations"]
    rows = max(1, min(completions, TOKENS // length))
    work = Workload((length,) * rows, (1,) * rows, packed=False)
    parts = enumerate(named(recipe.reward, recipe.origin("reward")))
    return tuple(_judge(part.source, number, model, work) for number, part in parts if not part.is_function)


def _judge(source: str, number: int, model: PreTrainedModel, work: Workload) -> Judge:
    """On the policy's base where the run would put it there, else a model of its own, on the meta device."""
    place = locate(source)
    if place.adapter is None or not fits(model, place.adapter):
        return Judge(work=work, model=open_model(source, device="meta").model)
    name, size = name_of(number), FP32 * numbers_in(place.adapter / TENSORS)
    own = own_tensors(model, name) if name in installed(model) else {}
    marks = {id(tensor) for tensor in own.values()}
    names = frozenset(name for name, parameter in model.named_parameters() if id(parameter) in marks)
    return Judge(work=work, own=names, beside=size - sum(tensor.nbytes for tensor in own.values()))


def name_of(number: int) -> str:
    """Of the adapter of a recipe's reward model of that number, on the policy's base."""
    return f"reward_{number}"


def numbers_in(file: Path) -> int:
    """How many numbers a file of weights holds."""
    with safe_open(file, framework="pt") as stored:
        return sum(prod(stored.get_slice(name).get_shape()) for name in stored.keys())  # noqa: SIM118

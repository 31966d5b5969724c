"""The evaluation of a running stage rl: held-out prompts answered by the policy and judged.

Answers are sampled as in training, with the same random numbers at every evaluation, so that a change is the policy's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from accorda.data.dataset import Dataset
from accorda.errors import Refusal
from accorda.evaluation.intervals import Estimate, estimate_mean
from accorda.generation.words import decoded
from accorda.methods.base_of_run import base_of, restore_base
from accorda.methods.routing import use
from accorda.rl.best_of_n import best, most_kl
from accorda.rl.distance import distance, with_distance
from accorda.rl.health import held_out
from accorda.rl.phases import Phases
from accorda.rl.rollout import Answer, Group, answers_of, with_answers
from accorda.training.preferring import reference_of

EVALUATION = 1 << 32
"""In place of a phase's number, in what random numbers are made from."""
SHOWN = 4
ENDED = "ended"
REPORTED = ("reward", "length", ENDED, "kl")
DIRECTIONS = {"reward": "higher", "length": "lower", "kl": "lower"}


def evaluator(session: Any) -> Callable[[], dict[str, Any]] | None:
    """A function that measures the session's policy now; None where the session has no held-out prompts.

    It gives `reward` (a mean over prompts, of one answer each, None where none could be judged; of the first
    `evaluation.generate` prompts, all if that is 0), `length` in tokens, the share that `ended`, the `kl` to the
    reference per answer, "intervals" of them (95%, bootstrap over prompts) and "samples".
    """
    phases, rows = session.loop.carried, session.eval
    assert isinstance(phases, Phases)
    if rows is None:
        return None
    number = min(session.recipe.evaluation.generate or len(rows), len(rows))

    def evaluate() -> dict[str, Any]:
        with session.loop.precision.autocast():
            groups = measured(phases, rows, range(number), session.loop.step_number)
        found = estimates(statistics([group.answers[0] for group in groups]))
        values: dict[str, Any] = {"reward": None} | {name: one.value for name, one in found.items()}
        values["intervals"] = {name: [one.low, one.high] for name, one in found.items()}
        values["health"] = held_out(values, phases.memory)
        return values | {"samples": [shown(session, rows, group) for group in groups[:SHOWN]]}

    return evaluate


def report(
    session: Any,
    limit: int | None = None,
    best_of: int = 1,
    *,
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """What `accorda eval` tells of a run of stage rl: its held-out prompts answered by reference and by policy.

    The keys are those of `accorda.evaluation.report.report`. Both answer with the same random numbers. With `best_of`
    n above 1 a row more tells what the best of n answers of the reference is worth, which needs no training. What is
    None is as the run has it. Log-probabilities are those at the run's temperature, so `kl` is told at that one alone.

    Raises:
        Refusal: the run has no held-out prompts; answers that are longer than in training; several answers without a
            temperature, which would all be one.
    """
    given = {"max_new_tokens": max_new_tokens, "temperature": temperature, "batch_size": batch_size}
    own, rows = session.loop.carried, session.eval
    phases = as_asked(own, {name: value for name, value in given.items() if value is not None}, seed)
    if rows is None:
        raise Refusal("data: the run kept no prompts apart; name rows with --data")
    apart = phases.settings.temperature == own.settings.temperature
    numbers = range(len(rows) if limit is None else min(limit, len(rows)))
    found: dict[str, list[Group]] = {}
    with session.loop.precision.autocast():
        why = no_reference(session)
        if not why:
            with use(session.model, reference_of(session.model)):
                found["reference"] = measured(phases, rows, numbers, apart=apart)
                if best_of > 1:
                    several = measured(phases, rows, numbers, num_generations=best_of, apart=False)
                    found[f"best of {best_of}"] = bests(several)
        found["tuned"] = measured(phases, rows, numbers, apart=apart)
    lines = [line(name, groups) for name, groups in found.items()]
    if not apart and not why:
        at = f"rollout.temperature = {own.settings.temperature:g}"
        lines[-1]["note"] = f"kl is a mean over answers at {at}, and these are at {phases.settings.temperature:g}"
    for told in lines[1:-1]:
        told["note"] = f"chosen by the reward from the reference's answers; at most {most_kl(best_of):.2f} nats from it"
    if why:
        nothing = {"metrics": {}, "stop_rate": None, "shots": None, "note": why}
        lines = [{"name": "reference", **nothing}, *lines]
    return {
        "rows": lines,
        "metrics": [{"name": name, "direction": way} for name, way in DIRECTIONS.items()],
        "num_rows": len(numbers),
        "data": rows.report.rows,
        "samples": [
            {
                "prompt": decoded(session.tokenizer, one.prompt.input_ids.tolist()),
                "reference": session.renderer.completion_text(rows.example(one.prompt.index)),
                "answers": {name: groups[number].answers[0].completion.text for name, groups in found.items()},
            }
            for number, one in enumerate(found["tuned"][:SHOWN])
        ],
    }


def as_asked(own: Phases, given: Mapping[str, Any], seed: int | None) -> Phases:
    """The run's phases with other settings of the rollout and another seed.

    Raises:
        Refusal: answers that are longer than in training.
    """
    most, wanted = own.settings.max_new_tokens, given.get("max_new_tokens", 0)
    if wanted > most:
        raise Refusal(
            f"--max-new-tokens {wanted}: prompts of the run leave room for answers of {most} "
            "(rollout.max_new_tokens); ask for no more"
        )
    return replace(own, settings=replace(own.settings, **given), seed=own.seed if seed is None else seed)


def no_reference(session: Any) -> str:
    """Why the model of before the run cannot be asked, empty if it can; what trained everywhere gets its base back."""
    if not session.folder.model.is_dir():
        return ""
    try:
        restore_base(session.model, base_of(session.recipe.model))
    except Refusal as refusal:
        return str(refusal)
    return ""


def line(name: str, groups: Sequence[Group]) -> dict[str, Any]:
    """One row of the report."""
    found = estimates(statistics([group.answers[0] for group in groups]))
    metrics = {key: asdict(found[key]) for key in DIRECTIONS if key in found}
    return {"name": name, "metrics": metrics, "stop_rate": found[ENDED].value, "shots": None, "note": ""}


def bests(groups: Sequence[Group]) -> list[Group]:
    """Of each prompt its best answer alone, the first where none could be judged."""
    return [replace(group, answers=[best(group) or group.answers[0]]) for group in groups]


def measured(
    phases: Phases,
    rows: Dataset,
    numbers: Sequence[int],
    version: int | None = None,
    *,
    num_generations: int = 1,
    apart: bool = True,
) -> list[Group]:
    """Judged answers to each of these prompts, as `answered` samples; `apart`: with their distance, if it is known."""
    settings = replace(phases.settings, num_generations=num_generations)
    groups = phases.answered([rows[number] for number in numbers], (phases.seed, EVALUATION), settings, version)
    groups = phases.judged(groups, rows)
    if not apart:
        return groups
    told = with_distance(phases.model, phases.prompts, answers_of(groups), phases.settings.temperature)
    return with_answers(groups, told)


def statistics(answers: Sequence[Answer]) -> Mapping[str, list[float]]:
    """Numbers per answer, by what is reported."""
    return {
        "reward": [one.reward for one in answers if one.reward is not None],
        "length": [float(len(one.completion.token_ids)) for one in answers],
        ENDED: [float(one.completion.stopped) for one in answers],
        "kl": [nats for one in answers if (nats := distance(one)) is not None],
    }


def estimates(found: Mapping[str, Sequence[float]]) -> dict[str, Estimate]:
    """Of each of them that there are numbers of, the mean with its interval."""
    return {name: estimate_mean(values, share=name == ENDED) for name, values in found.items() if len(values)}


def shown(session: Any, rows: Dataset, group: Group) -> dict[str, Any]:
    """A prompt with its answer and reward, for the log."""
    answer, example = group.answers[0], rows.example(group.prompt.index)
    return {
        "prompt": decoded(session.tokenizer, group.prompt.input_ids.tolist()),
        "reference": session.renderer.completion_text(example),
        "completion": answer.completion.text,
        "reward": answer.reward,
    }

"""The road of InstructGPT on the bundled model, as `accorda demo --align` goes it: three runs, one from the other.

A model learns from demonstrations whose writer was in a hurry and left facts open; a reward model learns from pairs
which of two summaries people prefer; PPO has the reward model judge the policy's own summaries. In the end supervised
and aligned model sum up tickets that nobody trained on, and the preference that the pairs were made by, which the
reward model only ever saw through noisy labels, says whose summary is better.
"""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

from accorda.cli.terminal.counting import Counting
from accorda.cli.terminal.outcome import DONE, UNPROVEN, Outcome
from accorda.errors import Refusal
from accorda.runs.layout import RunFolder

STAGES = ("sft", "reward", "rl")
DATA, HELDOUT, APART = "bundled:preferences", "bundled:preferences-heldout", 0.1
MAX_NEW_TOKENS, SHOWN = 48, 2
NEXT = (
    ("accorda chat {rl}", "talk to it; {sft} is what it was before PPO"),
    ("accorda eval {rl} --best-of 4", "the reward of held-out answers, beside the best of four without any PPO"),
    ("accorda verify {rl}", "the proofs again, from the files"),
    ("accorda diff {sft} {rl}", "what differs between the runs"),
    ("{report}", "curves, health and answers of the PPO run on one page"),
)


def recipes(output: Path) -> dict[str, dict[str, Any]]:
    """The three runs.

    The demonstrations are learned as the demo's tickets are. Answers are sampled at 0.4: a few signs that summaries
    are written with never stood in the model's own texts, and its head cannot give them more than a twentieth of the
    probability at 1. Rates and numbers of steps were chosen by the win rate on tickets of the generator that are
    neither trained on nor held out. What the runs measure on their way is measured on every tenth of the pairs that
    they learn from; the held-out tickets are looked at once, in the end.
    """
    from accorda.cli.demo import recipe

    tickets = recipe("demonstrations", str(output / "sft"))
    sft = tickets | {
        "training": tickets["training"] | {"checkpoint_every": 400},
        "evaluation": {"every": 400, "samples": 0},
    }
    reward = {
        "stage": "reward",
        "model": {"path": "bundled"},
        "data": {"train": DATA, "eval_split": APART},
        "method": {"name": "lora"},
        "training": {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3},
        "evaluation": {"every": 100},
    }
    rl = {
        "stage": "rl",
        "model": {"path": str(output / "sft")},
        "data": {"train": DATA, "eval_split": APART},
        "algorithm": {"name": "ppo"},
        "rollout": {"num_generations": 4, "max_new_tokens": MAX_NEW_TOKENS, "temperature": 0.4},
        "reward": str(output / "reward"),
        "training": {"batch_size": 16, "learning_rate": 3e-4, "max_steps": 32, "checkpoint_every": 32},
        "evaluation": {"every": 32, "samples": 0},
    }
    return {
        stage: made | {"output": str(output / stage)} for stage, made in zip(STAGES, (sft, reward, rl), strict=True)
    }


def road(arguments: argparse.Namespace) -> Outcome:
    """Three runs, who wins, what to do next."""
    from accorda.cli.demo import free
    from accorda.cli.terminal.facts import facts
    from accorda.cli.terminal.scenes import Scenes
    from accorda.recipe.load import load

    if arguments.long:
        raise Refusal("--long: the preferences are about single tickets; leave it out beside --align")
    begun, scenes = monotonic(), Scenes()
    output = Path(arguments.output or free(Path("runs") / "align"))
    changes = by_stage(arguments.settings)
    settings = {stage: load(made, changes[stage]) for stage, made in recipes(output).items()}
    for made in settings.values():
        RunFolder(str(made.output)).refuse_unless_free()
    runs = {stage: ordinary(stage, settings[stage], scenes) for stage in STAGES}
    found = judged(runs["sft"], runs["rl"], arguments.limit, scenes)
    scenes.open("Where to go from here")
    names = {stage: run.folder.path for stage, run in runs.items()}
    scenes.tell(
        facts((line.format(**names, report=runs["rl"].folder.report), says.format(**names)) for line, says in NEXT)
    )
    seconds = round(monotonic() - begun, 1)
    scenes.tell(f"{seconds:.0f} seconds in all")
    failed = "; ".join(filter(None, (unproven(run) for run in runs.values())))
    results = {stage: run.result for stage, run in runs.items()}
    result = {**results, "win_rate": found, "seconds": seconds, "output": str(output)}
    return Outcome(code=UNPROVEN if failed else DONE, result=result, text=scenes.rest(), error=failed)


def by_stage(overrides: Sequence[str]) -> dict[str, list[str]]:
    """Changes to the recipes, by the run they are of.

    Raises:
        Refusal: one that names none of the three, or is no change.
    """
    found: dict[str, list[str]] = {stage: [] for stage in STAGES}
    for override in overrides:
        stage, _, change = override.partition(".")
        if stage not in found or "=" not in change:
            raise Refusal(f"{override}: changes are written {' or '.join(f'{one}.KEY=VALUE' for one in STAGES)}")
        found[stage].append(change)
    return found


SCENES = {
    "sft": (
        "1/3 supervised fine-tuning",
        "400 summaries by somebody in a hurry, who left every third fact open: the policy to begin from.",
    ),
    "reward": (
        "2/3 a reward model",
        "400 pairs of summaries; of each the one with more facts right is preferred, one label in ten turned round.",
    ),
    "rl": (
        "3/3 PPO",
        "The policy sums up tickets, the reward model judges, what it likes becomes likelier; all on one base.",
    ),
}


def ordinary(stage: str, recipe: Any, scenes: Any) -> Any:
    """A run as `accorda train` makes it, and what there is to see of it."""
    from accorda.cli.terminal.bill import bill_table
    from accorda.cli.terminal.summary import proofs_table, told
    from accorda.cli.terminal.watching import Watching
    from accorda.runs.events import read
    from accorda.stages import train

    scenes.open(*SCENES[stage])
    with Watching() as watch:
        made = train(recipe, watch=watch)
    assert made.folder is not None  # only a dry run has none
    events = read(made.folder.events)
    scenes.tell(told(made.result))
    if line := learned(stage, events):
        scenes.tell(line)
    if stage == "rl":  # the one with several roles
        scenes.tell(bill_table(made.result["bill"]))
    scenes.tell(proofs_table(made.proofs))
    return made


def learned(stage: str, events: Sequence[Mapping[str, Any]]) -> str:
    """What a run says of itself in a line or two."""
    last = [event for event in events if event["event"] == "evaluation"][-1]
    if stage == "reward":
        low, high = last["intervals"]["preference_accuracy"]
        return (
            f"agrees with {last['preference_accuracy']:.0%} of the labels of pairs kept apart ({low:.0%} to "
            f"{high:.0%}); one label in ten is wrong, so nobody could agree with many more than 90%"
        )
    if stage == "rl":
        first = next(event for event in events if event["event"] == "evaluation")
        signs = [sign for event in events for sign in event.get("health", ())]
        alarms = sorted({sign["sign"] for sign in signs if sign["verdict"] == "alarm"})
        return (
            f"reward of answers to tickets kept apart {first['reward']:.2f} before, {last['reward']:.2f} after, "
            f"{last['kl']:.1f} nats from the reference; alarms: {', '.join(alarms) or 'none'}"
        )
    return ""


def judged(sft: Any, aligned: Any, limit: int | None, scenes: Any) -> dict[str, Any]:
    """The win rate of the aligned model over the supervised one on held-out tickets, and two of them."""
    from accorda.cli.eval import side_by_side
    from accorda.evaluation.preferences.facts import true_reward
    from accorda.generation.progress import part, watched

    scenes.open(
        "Who is preferred",
        "Both sum up held-out tickets; the preference that the pairs were made by judges: more facts stated rightly.",
    )
    rows = asked(limit)
    answers: dict[str, list[str]] = {}
    with closing(Counting(parts=True)) as count, watched(count):
        for name, run in (("sft", sft), ("ppo", aligned)):
            with part(name):
                answers[name] = answered(run, rows)
    worth = {
        name: [true_reward(text, row["summary"]) for text, row in zip(texts, rows, strict=True)]
        for name, texts in answers.items()
    }
    found = verdict(worth["ppo"], worth["sft"])
    won, tied = found["won"], found["tied"]
    scenes.tell(
        f"PPO wins over SFT {found['value']:.0%} [{found['low']:.0%}, {found['high']:.0%}] of {len(rows)} tickets: "
        f"{won} won, {tied} alike, which count half, {len(rows) - won - tied} lost\n"
        f"facts stated rightly, of six: SFT {found['facts']['sft']:.2f}, PPO {found['facts']['ppo']:.2f}"
    )
    for number in range(min(SHOWN, len(rows))):
        texts = {name: each[number] for name, each in answers.items()}
        shown = {"prompt": rows[number]["prompt"], "reference": rows[number]["summary"], "answers": texts}
        scenes.tell(side_by_side(shown))
    return found


def verdict(ppo: Sequence[float], sft: Sequence[float]) -> dict[str, Any]:
    """The win rate with its interval and what it is made of, from what each answer of either is worth."""
    from accorda.evaluation.preferences.winning import win_rate

    rate, pairs = win_rate(ppo, sft), list(zip(ppo, sft, strict=True))
    return {
        "value": rate.value,
        "low": rate.low,
        "high": rate.high,
        "won": sum(one > other for one, other in pairs),
        "tied": sum(one == other for one, other in pairs),
        "num_prompts": len(pairs),
        "facts": {"sft": sum(sft) / len(sft), "ppo": sum(ppo) / len(ppo)},
    }


def asked(limit: int | None) -> list[dict[str, Any]]:
    """The held-out tickets with their true summaries."""
    import json

    from accorda.data.sources import BUNDLED_FOLDER

    file = BUNDLED_FOLDER / f"{HELDOUT.partition(':')[2]}.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()][:limit]


def answered(run: Any, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The likeliest summary of each ticket."""
    from accorda.data.renderer import Renderer
    from accorda.generation.text import generate
    from accorda.methods.open import open_model
    from accorda.models.load import load_tokenizer

    opened = open_model(run.folder.path)
    tokenizer = load_tokenizer(opened.tokenizer_source)
    renderer = Renderer.load(run.folder.path, tokenizer)
    prompts = [row["prompt"] for row in rows]
    options = {"renderer": renderer, "batch_size": 50, "max_new_tokens": MAX_NEW_TOKENS}
    return [one.text for one in generate(opened.model, tokenizer, prompts, **options)]


def unproven(run: Any) -> str:
    """The error line of a run with a proof that fails, empty otherwise."""
    from accorda.cli.terminal.summary import failures

    failed = failures(run.proofs)
    return f"{run.folder.path}: {failed}" if failed else ""

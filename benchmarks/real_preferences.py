"""Reward models and DPO on real compared answers: held-out pairs, beside simple rules and what the data can carry.

Three sets of the folder with real data (`ACCORDA_SHARED`, or `../shared`), each read by accorda itself and divided by
prompt, a third held out, with three seeds that draw split, head and order of rows:

- `mixture`: dpo_en_demo.json of LLaMA-Factory, pairs of UltraFeedback, Orca and Capybara, labelled by GPT-4;
- `stack_exchange`: stack_exchange_paired_tiny.json of torchtune, answers with more and fewer votes;
- `open_assistant`: en_100_tree.jsonl, people's rankings of people's answers.

Two bases: the bundled model and stories260K, LoRA at automatic rates. Where answers are longer than a base's positions
these are raised (both rotate, so nothing is new but the lengths); longer rows than SETS says are left out and counted.
No run sees its held-out rows but at step 0 and after its last step, and no setting was chosen by them.

`pooled` takes the held-out rows of all seeds together, drawn by prompt for the interval; `fresh` those of them whose
conversation begins as none does that is trained on, since a tree of `open_assistant` has several prompts.
`picks_longer` is the share of pairs in which the answer with the higher reward is the longer one. `carried` tells what
no judge can exceed and how that was found (`benchmarks/_carried.py`); a figure is above it where its whole interval is.

The environment variable KEEP names a folder for finished runs, so that what was stopped goes on where it was.
"""

import json
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import _carried
from benchmarks._judged import Judged, num_pairs, pooled, told

SHARED = Path(os.environ.get("ACCORDA_SHARED") or Path(__file__).resolve().parents[2] / "shared")
KEEP = Path(os.environ["KEEP"]) if "KEEP" in os.environ else None
INNER = ("judged", "fresh")  # what is pooled of a run and not told
SEEDS, STAGES = (0, 1, 2), ("reward", "preference")
HELD_OUT = 1 / 3
NEVER = 1_000_000
LEARNED = 16  # rows trained on that are judged again
TURNED, ALIKE = 8, 1e-3  # rows whose answers are put in the other order, and how far apart their rewards may be
EPOCHS = 2
SETS = {  # by name: file under data/, its columns, the longest answer in tokens, rows a step
    "mixture": ("preferences_ultrafeedback_demo/dpo_en_demo.json", {}, 768, 8),
    "stack_exchange": (
        "preference_fixtures/stack_exchange_paired_tiny.json",
        {"prompt": "question", "chosen": "response_j", "rejected": "response_k"},
        3072,
        4,
    ),
    "open_assistant": ("oasst_trees/en_100_tree.jsonl", {}, 512, 8),
}
BORROWED = (
    "no pair was judged twice in this file, so its noise cannot be measured; the agreement of InstructGPT's labellers "
    "stands in for it"
)
LIKES = "readers' likes and labellers' ranks of the same replies, taken for two judgements of equal noise"


def main() -> dict[str, object]:
    """Every base, set, stage and seed."""
    import torch

    torch.set_num_threads(1)
    if not (SHARED / "data").is_dir():
        return {"left out": f"no real data at {SHARED}"}
    found = {}
    with tempfile.TemporaryDirectory() as name:
        os.environ["ACCORDA_CACHE"] = f"{name}/cache"
        for kind in SETS:
            data, carried = source(kind)
            found[kind] = {"carried": carried, **measured(Path(name), kind, data)}
            above(found[kind])
    runs = [
        run for each in found.values() for base in bases() for stage in STAGES for run in each[base][stage]["seeds"]
    ]
    told_of = {"seeds": list(SEEDS), "held_out": "a third of the prompts", "epochs": EPOCHS}
    return {**told_of, "seconds_of_runs": round(sum(run["seconds"] for run in runs)), "sets": found}


def bases() -> dict[str, Path]:
    """The folders of the models."""
    from accorda.models import load

    return {"bundled": Path(load.__file__).parent / "bundled", "stories260K": SHARED / "models" / "stories260K"}


def source(kind: str) -> tuple[Any, dict[str, Any]]:
    """What `data.train` names, a file wherever accorda reads it as it is, and what the data can carry."""
    from accorda.evaluation.intervals import estimate
    from accorda.evaluation.metric import Row
    from accorda.evaluation.metrics.preference_accuracy import PreferenceAccuracy

    file = SHARED / "data" / SETS[kind][0]
    if kind != "open_assistant":
        return str(file), {"agreement": _carried.ASSISTANTS, "how": BORROWED, "ceiling": _carried.ceiling(0.726)}
    trees = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    rows, likes = _carried.ranked_replies(trees)
    sums: dict[str, list[float]] = {}
    for prompt, right in likes:
        sums.setdefault(prompt, []).append(right)
    agreeing = [Row(num_pairs=len(each), num_right=sum(each)) for each in sums.values()]
    agreement = told(estimate(PreferenceAccuracy(), agreeing)["preference_accuracy"])
    carried = {"agreement": agreement, "pairs_liked_apart": len(likes), "how": LIKES}
    ceilings = {name: round(_carried.ceiling(value) or 0.5, 4) for name, value in agreement.items()}
    return rows, {**carried, "ceiling": ceilings.pop("value"), "ceiling_interval": ceilings}


def measured(place: Path, kind: str, data: Any) -> dict[str, Any]:
    """One set: both bases and stages."""
    length, found = SETS[kind][2], {}
    for base, folder in bases().items():
        model, positions = with_positions(folder, place / base, length)
        found[base] = {"positions": positions}
        for stage in STAGES:
            runs = [kept(place, kind, data, str(model), stage, seed) for seed in SEEDS]
            found[base][stage] = {
                "pooled": pooled([run["judged"] for run in runs]),
                "fresh": pooled([run["judged"].only(run["fresh"]) for run in runs]),
                "seeds": [{name: value for name, value in run.items() if name not in INNER} for run in runs],
            }
            print(json.dumps({"set": kind, "base": base, "stage": stage, **found[base][stage]}), file=sys.stderr)
    return found


def with_positions(folder: Path, place: Path, length: int) -> tuple[Path, dict[str, int]]:
    """A model with room for answers of so many tokens: itself, or a copy whose positions are raised."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    own = config["max_position_embeddings"]
    if own >= length:
        return folder, {"trained_with": own}
    copy = place.with_name(f"{place.name}-{length}")
    shutil.copytree(folder, copy, copy_function=shutil.copyfile, dirs_exist_ok=True)
    copy.chmod(0o755)
    for name, setting in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
        values = json.loads((folder / name).read_text("utf-8"))
        (copy / name).write_text(json.dumps({**values, setting: length}), encoding="utf-8")
    return copy, {"trained_with": own, "raised_to": length}


def kept(place: Path, kind: str, data: Any, model: str, stage: str, seed: int) -> dict[str, Any]:
    """One run, or what is kept of it."""
    file = KEEP / f"{kind}-{Path(model).name}-{stage}-{seed}.pickle" if KEEP else None
    if file is not None and file.is_file():
        return pickle.loads(file.read_bytes())
    began = perf_counter()
    found = {**trained(place, kind, data, model, stage, seed), "seconds": round(perf_counter() - began, 1)}
    if file is not None:
        file.write_bytes(pickle.dumps(found))
    return found


def trained(place: Path, kind: str, data: Any, model: str, stage: str, seed: int) -> dict[str, Any]:
    """One run, and what it says of its held-out rows and of those it learned from."""
    import accorda
    from accorda.runs import events
    from accorda.stages import reopen

    _, columns, length, batch_size = SETS[kind]
    output = place / "run"
    run = accorda.train(
        stage=stage,
        model=model,
        data={
            "train": data,
            "columns": columns,
            "eval_split": HELD_OUT,
            "max_length": length,
            "overlong": "skip",
        },
        method={"name": "lora"},
        training={"threads": 1, "batch_size": batch_size, "epochs": EPOCHS, "seed": seed},
        evaluation={"every": NEVER, "samples": 0},
        output=str(output),
    )
    log = [event for event in events.read(run.folder.events) if event["event"] == "evaluation"]
    session = reopen(run.folder)
    judged, learned = judge(session, session.eval), judge(session, session.train, LEARNED)
    shutil.rmtree(output)
    low, high = run.result["intervals"]["preference_accuracy"]
    reported = {"value": round(run.result["preference_accuracy"], 4), "low": round(low, 4), "high": round(high, 4)}
    return {
        "judged": judged,
        "fresh": fresh(session.train, session.eval),
        "proven": run.proven,
        "rows": run.result["rows"],
        "held_out": {"rows": len(session.eval), "pairs": num_pairs(judged), "prompts": len(set(session.eval.prompts))},
        "prompts_in_both": len(set(session.eval.prompts) & set(session.train.prompts)),
        "steps": run.result["steps"],
        "before": round(log[0]["preference_accuracy"], 4),
        "accuracy": reported,
        "measured_again": judged.accuracy() == reported,
        "order_of_answers_matters": order_matters(session, judged),
        "trained_on": {"rows": len(learned.segments), **learned.accuracy()},
        "consistent": round(_carried.consistent(session.eval.example(row) for row in range(len(session.eval))), 4),
    }


def fresh(train: Any, held: Any) -> list[bool]:
    """Which held-out rows are of conversations that begin as none does that is trained on."""
    known = {opening(train, row) for row in range(len(train))}
    return [opening(held, row) not in known for row in range(len(held))]


def opening(rows: Any, row: int) -> str:
    """The first thing that somebody said in a row."""
    example = rows.example(row)
    return example.prompt or next(turn.content for turn in example.messages if turn.role != "system")


def judge(session: Any, rows: Any, limit: int | None = None) -> Judged:
    """Rows and what the run says of their answers."""
    from accorda.evaluation.preferences.judge import judged, segments_of

    segments = segments_of(rows, limit)
    return Judged(segments, judged(session.model, session.objective, segments))


def order_matters(session: Any, rows: Judged) -> bool:
    """Whether a row's rewards hang on where its answers stand: they must not, the better one is filed first."""
    from accorda.data.preferences.batch import compared
    from accorda.evaluation.preferences.judge import judged

    few = rows.segments[:TURNED]
    backwards = [compared(each.answers[::-1], each.ranks[::-1], each.margin) for each in few]
    again = [rewards[::-1] for _, rewards in judged(session.model, session.objective, backwards)]
    pairs = zip(again, [rewards for _, rewards in rows.found], strict=False)
    return any(abs(one - other) > ALIKE for row, before in pairs for one, other in zip(row, before, strict=True))


def above(found: dict[str, Any]) -> None:
    """Mark every figure that is above what the data can carry, with its whole interval or its value alone."""
    figures = [found[base][stage][which] for base in bases() for stage in STAGES for which in ("pooled", "fresh")]
    seeds = [run for base in bases() for stage in STAGES for run in found[base][stage]["seeds"]]
    carried = found["carried"]
    carried["consistent"] = min(run["consistent"] for run in seeds)
    carried["ceiling"] = round(min(carried["consistent"], carried["ceiling"]), 4)
    for each in figures:
        accuracy: Mapping[str, float] = each["accuracy"]
        each["above_ceiling"] = accuracy["low"] > carried["ceiling"]
        each["value_above_ceiling"] = accuracy["value"] > carried["ceiling"]
    found["any_above_ceiling"] = any(each["above_ceiling"] for each in figures)
    found["any_value_above_ceiling"] = any(each["value_above_ceiling"] for each in figures)

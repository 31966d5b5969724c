"""Twelve mutations of the running code, each a fault that real tools had, and what must refuse it.

A mutation is a change of a function's source (`rewritten`) or of what it returns, made for one run and taken back.
Used by `test_mutations.py` and by `benchmarks/mutations.py`.
"""

import inspect
import json
import textwrap
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.stages.runs import SUMS, settings, write_rows

from accorda.data import overlong, prepare, tokenise
from accorda.data.renderer import Renderer
from accorda.data.tokens import Tokens
from accorda.errors import Refusal
from accorda.methods import checkpointing, contract
from accorda.methods.reparametrized.lora import LoRAAdapter
from accorda.models import attention
from accorda.models.roles import gpt_neox
from accorda.stages import tune
from accorda.stages.train import Run, train
from accorda.training import loop
from accorda.training.loop import Loop

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Mutation:
    """A fault, how it is made, the run it is made in, and the proofs of which one must fail."""

    name: str
    make: Callable[[Patch], None]
    refused_by: tuple[str, ...]
    architecture: str = "llama"
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    before: Callable[[Path], None] = lambda place: None


@dataclass(frozen=True)
class Outcome:
    """What became of a run: which proofs refused it, when, and the first reason. Nothing refused: a silent fault."""

    refused_by: tuple[str, ...]
    when: str  # "before the first step" | "at the end" | "never"
    reason: str


def outcome(place: Path, mutation: Mutation | None, patch: Patch) -> Outcome:
    """One tiny run under a mutation, in a folder with its own token store."""
    patch.setenv("ACCORDA_CACHE", str(place / "cache"))
    chosen = mutation or UNMUTATED
    chosen.before(place)
    chosen.make(patch)
    recipe = settings(place, architecture=chosen.architecture, **chosen.sections)
    try:
        return _told(train(recipe))
    except Refusal as refusal:
        names = tuple(name for name in ("mask", "coverage") if f"proof of {name} fails" in str(refusal))
        if not names or Path(recipe["output"]).exists():
            raise
        return Outcome(names, "before the first step", str(refusal))


def _told(run: Run) -> Outcome:
    failed = [proof for proof in run.proofs if proof.verdict == "fails"]
    if not failed:
        return Outcome((), "never", "")
    return Outcome(tuple(proof.name for proof in failed), "at the end", failed[0].reason)


def rewritten(patch: Patch, owner: Any, name: str, old: str, new: str) -> None:
    """Replace a function of a class or module by itself with one piece of its source changed."""
    function = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{name} holds {old!r} {source.count(old)} times"
    scope: dict[str, Any] = {}
    exec(compile(source.replace(old, new), f"<{name}, mutated>", "exec"), function.__globals__, scope)
    patch.setattr(owner, name, scope[name])


def eos_not_supervised(patch: Patch) -> None:
    old = "return Rendered(np.array(ids, np.int32), supervised, prompt_length)"
    rewritten(patch, Renderer, "_join", old, f"supervised[-1] = False; {old}")


def site_skipped(patch: Patch) -> None:
    find = contract.find
    patch.setattr(contract, "find", lambda model, targets: find(model, targets)[:-1])


def base_not_frozen(patch: Patch) -> None:
    patch.setattr(tune, "freeze", lambda model: model)


def double_bos(patch: Patch) -> None:
    old = "return ids if ids[: len(self.prefix)] == self.prefix else [*self.prefix, *ids]"
    rewritten(patch, Tokens, "joined", old, "return [*self.prefix, *self.prefix, *ids]")


def accumulation_by_micro_batch(patch: Patch) -> None:
    """The mean of the micro-batches' means: transformers until 4.46."""
    old = "/ num_supervised\n"
    rewritten(patch, Loop, "step", old, "/ batch.num_supervised / len(micro_batches)\n")


def packing_leak(patch: Patch) -> None:
    segments = attention.attend_segments

    def leaking(query: Any, key: Any, value: Any, scoring: Any, *, borders: Any, **more: Any) -> Any:
        return segments(query, key, value, scoring, borders=tuple((0, ends[-1]) for ends in borders), **more)

    patch.setattr(attention, "attend_segments", leaking)


def stale_cache_key(patch: Patch) -> None:
    patch.setattr(tokenise, "store_key", lambda *anything: "one key for every file")


def an_earlier_run(place: Path) -> None:
    """A run on other rows of the same number, before the file was corrected."""
    with pytest.MonkeyPatch.context() as patch:
        stale_cache_key(patch)
        rows = [row | {"completion": "who knows"} for row in SUMS]
        write_rows(place / "rows.jsonl", rows)
        train(settings(place, "earlier", training={"max_steps": 1}))
    write_rows(place / "rows.jsonl", SUMS)


def truncated_labels(patch: Patch) -> None:
    """Rows that are too long are cut whatever the policy says, and the count says nothing was lost."""

    def cut(spans: Any, first: Any, max_length: int, policy: Any, num_prefix: int) -> Any:
        return overlong.fit(spans, first, max_length, "truncate", num_prefix)

    patch.setattr(prepare, "fit", cut)


def long_answers(place: Path) -> None:
    write_rows(place / "rows.jsonl", [*SUMS, *({"prompt": "count: ", "completion": "1 2 3 4 " * 20},) * 4])


def wrong_merge_scale(patch: Patch) -> None:
    rewritten(patch, LoRAAdapter, "merged", "self.scaling *", "1.0 *")


def optimizer_lost_at_resume(patch: Patch) -> None:
    patch.setattr(loop, "load_states", lambda optimizer, parameters, stored: optimizer.state.clear())


def recomputed_under_another_route(patch: Patch) -> None:
    patch.setattr(checkpointing, "_contexts", lambda state: (nullcontext(), nullcontext()))


def fused_rows_shifted(patch: Patch) -> None:
    layout = gpt_neox.fused

    def shifted(config: Any, role: str, num_rows: int) -> dict[str, torch.Tensor]:
        return {part: (rows + 1) % num_rows for part, rows in layout(config, role, num_rows).items()}

    patch.setattr(gpt_neox, "fused", shifted)


UNMUTATED = Mutation("none", lambda patch: None, ())
QUERY = {"method": {"name": "lora", "rank": 2, "target_modules": ["attention.query"]}}
MUTATIONS = (
    Mutation("eos not supervised", eos_not_supervised, ("mask",)),
    Mutation("a site skipped", site_skipped, ("coverage",)),
    Mutation("base not frozen", base_not_frozen, ("coverage",)),
    Mutation("double BOS", double_bos, ("mask",)),
    Mutation("wrong accumulation scale", accumulation_by_micro_batch, ("gradient",)),
    Mutation("packing leak", packing_leak, ("packing",)),
    Mutation("stale cache key", stale_cache_key, ("mask",), before=an_earlier_run),
    Mutation(
        "truncated labels", truncated_labels, ("mask",), before=long_answers, sections={"data": {"max_length": 48}}
    ),
    Mutation("wrong merge scale", wrong_merge_scale, ("merge",)),
    Mutation("optimizer state lost at resume", optimizer_lost_at_resume, ("resume",)),
    Mutation(
        "checkpointed block recomputed under another route",
        recomputed_under_another_route,
        ("gradient",),
        sections={"training": {"gradient_checkpointing": True}},
    ),
    Mutation("fused rows shifted", fused_rows_shifted, ("coverage",), architecture="gpt_neox", sections=QUERY),
)


def as_json(name: str, found: Outcome) -> dict[str, Any]:
    """One row of the table."""
    refused = bool(found.refused_by)
    row = {"mutation": name, "refused": refused, "by": list(found.refused_by), "when": found.when}
    return json.loads(json.dumps(row | {"reason": found.reason}))

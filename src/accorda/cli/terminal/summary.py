"""What `train`, `resume` and `verify` print: the numbers of a run, its proofs, where its files are."""

from collections.abc import Mapping, Sequence
from typing import Any

from accorda.cli.terminal.bill import bill_table
from accorda.cli.terminal.facts import blocks, counted, facts, lengths, places, sources
from accorda.cli.terminal.outcome import DONE, UNPROVEN, Outcome
from accorda.cli.terminal.table import table
from accorda.recipe.write import flow
from accorda.runs.figures import size
from accorda.runs.sections.names import METRICS
from accorda.runs.sections.onwards import commands
from accorda.runs.spent import PARTS, parts, reached
from accorda.runs.story import Setting, Story, is_number, tell

TOLERATED = 0.1  # of the memory bill, beyond which its error is worth a report
NOTHING = "not applicable"  # the verdict of a proof that says nothing of such a run


def finished(run: Any) -> Outcome:
    """The outcome of a run that came to its end."""
    failed = failures(run.proofs)
    story = tell(run.folder.path, run.result)
    text = blocks(
        [
            told(run.result),
            decided(auto(story.settings)),
            spent(run.result),
            proofs_table(run.proofs),
            onwards(story),
        ]
    )
    return Outcome(code=UNPROVEN if failed else DONE, result=run.result, text=text, error=failed)


def onwards(story: Story) -> str:
    """Where to look, and the commands to go on with."""
    page = (str(story.folder.report), "curves, answers, proofs, settings: open it in a browser")
    return facts([page, *commands(story)])


def verified(path: str, proofs: Sequence[Any]) -> Outcome:
    """The outcome of proofs that were computed again."""
    failed = failures(proofs)
    result = {
        "status": "unproven" if failed else "proven",
        "path": path,
        "proofs": {proof.name: proof.verdict for proof in proofs},
        "details": [proof.to_dict() for proof in proofs],
    }
    return Outcome(code=UNPROVEN if failed else DONE, result=result, text=proofs_table(proofs), error=failed)


def dry_run(run: Any) -> Outcome:
    """The outcome of everything up to the first step: data, mask, coverage, batches, bill."""
    found = run.result
    report, bill = found["rows"], found["bill"]
    checks = [(item["name"], item["verdict"], item["reason"]) for item in found["mask"].get("checks", ())]
    batches = [
        ("stage", f"{found['stage']}, {found['method']}"),
        ("steps", f"{found['steps']:,}, {found['steps_per_epoch']:,} per epoch"),
        *arithmetic(found),
        ("evaluation rows", found["eval_rows"]),
        ("attention", found["attention"]),
        ("trained parameters", found["trainable_parameters"]),
    ]
    text = blocks(
        [
            sources(report),
            facts(lengths(report)),
            places(report),
            table(("mask", "verdict", "reason"), checks),
            facts(batches),
            bill_table(bill),
            decided({name: (item["value"], item["origin"]) for name, item in found["decided"].items()}),
            proofs_table(run.proofs),
            "nothing was trained and nothing was written",
        ]
    )
    return Outcome(result=found, text=text)


def arithmetic(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What an optimizer step comes to; in stage rl what a phase comes to, and its updates."""
    told = found.get("arithmetic") or {}
    if "prompts_per_phase" not in told:
        return [
            ("rows per step", told.get("rows_per_step")),
            ("passes in the first step", told.get("passes_of_first_step")),
        ]
    prompts, each, every = (told[name] for name in ("prompts_per_phase", "answers_per_prompt", "answers_per_phase"))
    return [
        ("a phase", f"{prompts:,} prompts x {each:,} answers = {every:,} answers"),
        ("its updates", f"{told['updates_per_phase']:,}, each from {told['answers_per_update']:,} answers at most"),
        ("distance from the reference", told["kl_placement"]),
        ("loss aggregation", told["loss_aggregation"]),
    ]


def failures(proofs: Sequence[Any]) -> str:
    """The error line where a proof fails: the first with its reason."""
    failed = [proof for proof in proofs if proof.verdict == "fails"]
    if not failed:
        return ""
    more = f" (and {', '.join(proof.name for proof in failed[1:])})" if failed[1:] else ""
    return f"the proof of {failed[0].name} fails{more}: {failed[0].reason}"


def proofs_table(proofs: Sequence[Any]) -> str:
    """Name, verdict and reason of every proof; below them those that say nothing of such a run."""
    drawn = [(proof.name, proof.verdict, proof.reason) for proof in proofs if proof.verdict != NOTHING]
    left = [f"{proof.name} ({proof.reason})" for proof in proofs if proof.verdict == NOTHING]
    return table(("proof", "verdict", "reason"), drawn) + (f"\n{NOTHING}: {'; '.join(left)}" if left else "")


def auto(settings: Sequence[Setting]) -> dict[str, tuple[Any, str]]:
    """Those settings of a written recipe that were decided for the user."""
    return {item.name: (item.value, item.origin) for item in settings if item.origin.startswith("auto")}


def decided(found: Mapping[str, tuple[Any, str]]) -> str:
    """Those settings with what they became and why."""
    rows = [
        (name, value if isinstance(value, str) else flow(value), origin.removeprefix("auto: "))
        for name, (value, origin) in found.items()
    ]
    return table(("decided", "value", "because"), rows) if rows else ""


def spent(result: Mapping[str, Any]) -> str:
    """Where the time of a profiled run went."""
    profile = result.get("profile") or {}
    rows = [(name, f"{seconds:.2f}", f"{share:.1%}", PARTS[name]) for name, seconds, share in parts(profile)]
    return "\n".join(
        filter(None, [table(("part", "seconds", "share", "what it is"), rows) * bool(rows), reached(profile)])
    )


def evaluated(result: Mapping[str, Any]) -> Any:
    """The held-out loss, with its step where that is not the last: the result is then of that step too."""
    loss, step = result.get("eval_loss"), result.get("evaluated_step")
    if loss is None or step is None or step == result.get("steps"):
        return loss
    return f"{loss:.4g} after step {step}, the best: the result is of that step"


def held_out(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every other held-out measure with its interval: alone it would seem surer than so few rows can make it."""
    return [
        (METRICS.get(name, (name,))[0].lower(), f"{result[name]:.4g} (95% interval {low:.4g} to {high:.4g})")
        for name, (low, high) in (result.get("intervals") or {}).items()
        if name != "eval_loss" and is_number(result.get(name)) and is_number(low) and is_number(high)
    ]


def told(result: Mapping[str, Any]) -> str:
    """A run's numbers, one line each; what a result does not have is left out."""
    peak, bill = result.get("peak_memory_bytes"), result.get("bill_bytes")
    return facts(
        [
            ("run", result.get("output")),
            ("stage", f"{result.get('stage')}, {result.get('method')}"),
            ("rows", counted(result.get("rows") or {})),
            ("steps", result.get("steps")),
            *arithmetic(result),
            ("tokens", result.get("tokens")),
            ("loss of the last step", result.get("loss")),
            ("evaluation loss", evaluated(result)),
            *held_out(result),
            ("trained parameters", result.get("trainable_parameters")),
            ("seconds", result.get("train_seconds")),
            ("tokens per second", result.get("tokens_per_second")),
            ("peak memory", None if peak is None else size(peak)),
            ("memory bill", None if bill is None else size(bill)),
            ("! above the bill", beyond(peak, bill)),
        ]
    )


def beyond(peak: int | None, bill: int | None) -> str | None:
    """That a run held more than it was told it would; nothing where it did not, or by little."""
    if not peak or not bill or peak <= (1 + TOLERATED) * bill:
        return None
    return (
        f"{peak / bill - 1:.0%}: a bill is to be right within {TOLERATED:.0%}; report it with the run's recipe.yaml, "
        "result.json and environment.json, and leave that much more room"
    )

"""Before anything is written: is it trained what was meant, and on what? A dry run shows this and stops."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from accorda.data.labelled.renderer import LabelledRenderer
from accorda.data.preferences.renderer import PreferenceRenderer
from accorda.errors import Refusal
from accorda.evaluation.labelled.predict import has
from accorda.evaluation.metric import Needs, Row
from accorda.evaluation.registry import OF_COMPARISONS, OF_TEXT, read_metrics, require_fitting
from accorda.methods.install import trainable
from accorda.planning.bill import Bill
from accorda.planning.price import Priced, price
from accorda.proofs.contract import Proof
from accorda.proofs.registry import provers
from accorda.recipe.layers import leaves, mapping
from accorda.stages.build import ATTENTION_NOTE, OPENED_NOTE, OPTIMIZER_NOTE, STEPS_NOTE
from accorda.stages.contract import find_stage
from accorda.stages.pricing import file_dtype, is_tried, judged, passes
from accorda.training.objective import Making
from accorda.training.rng import undisturbed
from accorda.training.session import Session
from accorda.training.trackers.follow import require

BEFORE = ("mask", "coverage")
PROBE = Row(completion="a", references=("a",), log_likelihood=-1.0, num_tokens=1, num_classes=2)


@dataclass(frozen=True)
class Report:
    """What a run would do."""

    session: Session
    proofs: list[Proof]
    bill: Bill

    def to_dict(self) -> dict[str, Any]:
        """The object that `--dry-run --json` prints."""
        session = self.session
        counts = [method.num_parameters(session.model) for method in session.method]
        return {
            "stage": session.recipe.stage,
            "method": session.recipe.method["name"],
            "rows": session.train.report.to_dict(),
            "eval_rows": len(session.eval) if session.eval is not None else 0,
            "trainable_parameters": sum(p.numel() for p in trainable(session.model).values()),
            "parameters": {
                "trained": sum(count.trained for count in counts),
                "kept": sum(count.kept for count in counts),
                "heads": max(count.heads for count in counts),
            },
            "steps": session.notes[STEPS_NOTE],
            "steps_per_epoch": session.batches.steps_per_epoch,
            "micro_batches_first_step": len(session.batches.groups(0)),
            "arithmetic": find_stage(session.recipe.stage).arithmetic(session),
            "attention": session.notes[ATTENTION_NOTE] or "packed rows",
            "proofs": {proof.name: proof.verdict for proof in self.proofs},
            "mask": next((proof.evidence for proof in self.proofs if proof.name == "mask"), {}),
            "bill": self.bill.to_dict(),
            "recipe": mapping(session.recipe),
            "decided": {
                name: {"value": value, "origin": session.recipe.origin(name)}
                for name, value in leaves(mapping(session.recipe))
                if session.recipe.origin(name).startswith("auto")
            },
        }


def check(session: Session) -> Report:
    """The settings that only a run would find wrong, and the proofs that need no step.

    Raises:
        Refusal: one of them fails.
    """
    require(session.recipe.training.trackers)
    check_evaluation(session)
    proofs = [provers()[name].prove(session, session.folder.path) for name in BEFORE]
    for proof in proofs:
        if proof.verdict == "fails":
            raise Refusal(f"preflight: the proof of {proof.name} fails: {proof.reason}")
    find_stage(session.recipe.stage).check(session)
    return Report(session, proofs, bill(session))


def bill(session: Session) -> Bill:
    """What the run will hold in memory; the session and the generators are as before."""
    opened, recipe = session.notes[OPENED_NOTE], session.recipe
    stage = find_stage(recipe.stage)
    carried = session.loop.carried
    beside = carried.beside if isinstance(carried, Making) else None
    found = passes(recipe, session.batches, session.eval, beside)
    with undisturbed():
        return price(
            Priced(
                model=session.model,
                objective=stage.objective(recipe),
                passes=judged(stage.judges, recipe, session.model, found),
                optimizer=session.notes[OPTIMIZER_NOTE],
                precision=session.loop.precision,
                files=file_dtype(recipe, opened.base_path),
                trial=is_tried(recipe, session.notes[STEPS_NOTE], session.eval is not None),
            )
        )


def trial(session: Session) -> None:
    """One forward and backward pass over the first micro-batch, leaving no gradient behind."""
    loop = session.loop
    with loop.precision.autocast():
        loss = session.objective(session.model, session.batches.at(0)[0])
    loss.backward()
    loop.optimizer.zero_grad()


def fitting(session: Session) -> tuple[Needs, ...]:
    """What metrics of this session's rows may be about."""
    match session.renderer:
        case LabelledRenderer(labels=labels):
            return has(labels)
        case PreferenceRenderer():
            return OF_COMPARISONS
        case _:
            return OF_TEXT


def check_evaluation(session: Session) -> None:
    """Refuse metrics that do not exist or cannot run, and a `best` that no metric reports, before a run begins."""
    wanted = session.recipe.evaluation
    metrics = read_metrics(("eval_loss", *wanted.metrics))
    require_fitting(metrics, fitting(session))
    if session.eval is None:
        if wanted.patience is not None:
            raise Refusal("evaluation.patience: there are no evaluation rows; name some with --eval-data")
        return
    reported = [name for metric in metrics.values() for name in metric.values(np.asarray(metric.statistics(PROBE)))]
    reported = list(find_stage(session.recipe.stage).reported) or reported
    if wanted.best not in reported:
        raise Refusal(f"evaluation.best = {wanted.best}: this run reports {', '.join(reported)}; choose one of them")

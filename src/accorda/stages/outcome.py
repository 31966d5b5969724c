"""What a run writes beside events and checkpoints: the folder at its start, its files and result.json at its end."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from accorda.methods.install import own_tensors, trainable
from accorda.methods.open import Opened
from accorda.methods.storage import companions, save_adapter, save_model
from accorda.methods.targets import is_ours
from accorda.models.fused import fused_of
from accorda.models.tensor_file import write_tensors
from accorda.proofs.contract import Proof
from accorda.quantization.nf4 import kernel_of
from accorda.recipe.layers import mapping
from accorda.recipe.write import dump, rows_in_files
from accorda.runs import events
from accorda.runs.card import card
from accorda.runs.environment import environment
from accorda.runs.files import write_json, write_text
from accorda.runs.replace import replaced
from accorda.runs.report import report
from accorda.stages.build import BILL_NOTE, OPENED_NOTE, PROFILE_NOTE
from accorda.stages.contract import find_stage
from accorda.stages.tune import ADAPTER
from accorda.training.objective import Making, StepObjective
from accorda.training.profile import Profiler
from accorda.training.session import Session

logger = logging.getLogger(__name__)

VALUE_FILE = "value.safetensors"
LEAST_SECONDS, SHARE_OF_TRAINING = 10.0, 0.05
ELSEWHERE = (
    "output",
    "training.trackers",
    "rollout.url",
    "rollout.model",  # answers are asked of the adapter; the base's name is looked up before a run alone
    "rollout.folder",
    "rollout.timeout",
)  # settings that change nothing of what is trained


def begin(session: Session) -> None:
    """The run's folder appears, with its recipe, renderer and environment."""
    with replaced(session.folder.path) as new:
        recipe, rows = rows_in_files(session.recipe, str(session.folder.path))
        for name, text in rows.items():
            write_text(new / name, text)
        write_text(new / session.folder.recipe.name, dump(recipe))
        write_json(new / session.folder.environment.name, environment(surroundings(session)))
        write_json(new / session.folder.data.name, data_facts(session))
        session.renderer.save(new)


def data_facts(session: Session) -> dict[str, Any]:
    """What became of the rows of both splits: kept, skipped, over-long, cut; lengths; where they came from."""
    return {
        "train": session.train.report.to_dict(),
        "eval": session.eval.report.to_dict() if session.eval is not None else None,
    }


def surroundings(session: Session) -> dict[str, Any]:
    """What only the run knows of where it ran."""
    data = {"train": session.train.hash, "eval": session.eval.hash if session.eval is not None else None}
    kernel, fused = kernel_of(session.model, session.device), fused_of(session.model)
    return {
        "device": str(session.device),
        **({} if kernel is None else {"kernel of 4-bit weights": kernel.name}),
        **({} if not fused else {"computed by kernels": fused}),
        "threads": session.recipe.training.threads,
        "seed": session.recipe.training.seed,
        "data": data,
        "base": fingerprint(session),
    }


def identity(session: Session) -> dict[str, str]:
    """What a checkpoint belongs to; a run whose identity changed is not resumed."""
    values = mapping(session.recipe)
    for name in ELSEWHERE:
        *path, last = name.split(".")
        place = values
        for part in path:
            place = place[part]
        place.pop(last, None)
    made = session.loop.carried
    values["data"] = {key: value for key, value in values["data"].items() if key not in ("train", "eval")}
    return {
        "recipe": digest(values),
        "data": digest([session.train.hash, session.eval.hash if session.eval is not None else None]),
        "base": digest(fingerprint(session)),
        **({name: digest(value) for name, value in made.identity.items()} if isinstance(made, Making) else {}),
    }


def fingerprint(session: Session) -> Any:
    """Of the base model's weights, as loading computed it."""
    return getattr(session.model, "accorda_fingerprint", None)


def digest(value: Any) -> str:
    """A short hash of anything JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


@torch.no_grad()
def put_beside(session: Session) -> None:
    """Give the objective of a reopened run what was kept for it beside the result."""
    file = session.folder.value / VALUE_FILE
    if not file.is_file() or not isinstance(session.objective, StepObjective):
        return
    stored = load_file(file)
    for name, tensor in session.objective.beside(session.model).items():
        tensor.copy_(stored[name])


def is_whole(session: Session) -> bool:
    """Whether the result is a model and not an adapter: every parameter of the base trains, and nothing beside it."""
    model = session.model
    return all(
        parameter.requires_grad for name, parameter in model.named_parameters() if not is_ours(name)
    ) and own_tensors(model, ADAPTER).keys() <= set(dict(model.named_parameters()))


def save(session: Session) -> None:
    """The result: `adapter/`, or `model/` where `is_whole`; tokenizer, template and renderer with it."""
    if is_whole(session):
        save_model(session.model, session.tokenizer, session.folder.model, renderer=session.renderer, name=ADAPTER)
    else:
        beside = companions(session.tokenizer, session.renderer)
        save_adapter(session.model, session.folder.adapter, ADAPTER, beside=beside)
    card_place(session).unlink(missing_ok=True)  # of a run killed after it: a proof would see it change
    kept = session.objective.beside(session.model) if isinstance(session.objective, StepObjective) else {}
    if kept:
        with replaced(session.folder.value) as new:
            write_tensors(new / VALUE_FILE, {name: tensor.detach() for name, tensor in kept.items()})


def sample(session: Session, train_seconds: float) -> None:
    """`samples.json`, within 10 s or a twentieth of the training. Answers to look at: without them the run goes on."""
    try:
        found = find_stage(session.recipe.stage).samples(session, max(LEAST_SECONDS, SHARE_OF_TRAINING * train_seconds))
    except Exception as error:  # an architecture that cannot generate, no memory left for a cache
        logger.warning("no samples: %s", error)
        found = {"error": " ".join(str(error).split()) or type(error).__name__, "samples": []}
    if found is not None:
        write_json(session.folder.samples, found)


def show(session: Session) -> None:
    """The report of a run that stopped: what is there so far. The disk may be what stopped it."""
    try:
        write_text(session.folder.report, report(session.folder.path))
    except OSError as error:
        logger.warning("no report: %s", error)


def finish(session: Session, totals: Mapping[str, Any], proofs: Sequence[Proof]) -> dict[str, Any]:
    """Card, report, and last of all result.json, which marks the run complete."""
    found = result(session, totals, proofs)
    folder = session.folder
    write_text(card_place(session), card(folder.path, found))
    write_text(folder.report, report(folder.path, found))
    write_json(folder.result, found)
    return found


def card_place(session: Session) -> Path:
    """Where the card of the adapter or model lies."""
    folder = session.folder
    return (folder.adapter if folder.adapter.is_dir() else folder.model) / "README.md"


def result(session: Session, totals: Mapping[str, Any], proofs: Sequence[Proof]) -> dict[str, Any]:
    """The summary of a run."""
    opened: Opened = session.notes[OPENED_NOTE]
    kept = session.train.report
    return {
        "status": "complete" if all(proof.verdict != "fails" for proof in proofs) else "unproven",
        "stage": session.recipe.stage,
        "method": session.recipe.method["name"],
        "rows": kept.rows,
        "arithmetic": find_stage(session.recipe.stage).arithmetic(session),
        "bill_bytes": session.notes[BILL_NOTE].total if BILL_NOTE in session.notes else None,
        "bill": session.notes[BILL_NOTE].to_dict() if BILL_NOTE in session.notes else None,
        **totals,
        **profiled(session),
        "mergeable": all(method.traits.mergeable for method in session.method),
        "trainable_parameters": sum(parameter.numel() for parameter in trainable(session.model).values()),
        "proofs": {proof.name: proof.verdict for proof in proofs},
        "parents": [str(opened.run.path)] if opened.run is not None else [],
        "output": str(session.folder.path),
    }


def profiled(session: Session) -> dict[str, Any]:
    """Where the time went, of a run that was profiled."""
    profiler: Profiler | None = session.notes.get(PROFILE_NOTE)
    return {} if profiler is None else {"profile": profiler.told(events.read(session.folder.events))}

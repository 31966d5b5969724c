"""Are the files the live tensors? Everything saved is read back and compared, bit for bit."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel

from accorda.data.labelled.renderer import load_renderer
from accorda.errors import Refusal
from accorda.methods.install import kept_tensors, own_tensors, remove
from accorda.methods.routing import acting, use
from accorda.methods.storage import is_adapter, load_adapter
from accorda.models.heads import new_heads
from accorda.proofs.contract import Check, Proof, Prover, check, names
from accorda.proofs.tensors import TensorFiles, checksum, is_finite
from accorda.runs.files import sha256
from accorda.runs.layout import RunFolder
from accorda.training.session import Session

AGAIN = "saved_and_read_back"  # the name of the adapter that is loaded beside the live one
BESIDE = ("recipe.yaml", "renderer.json", "environment.json")
PROBE = "Once upon a time, 3 + 4 = 7.\n\tÜber"


class Save(Prover):
    """The files, read back, equal the live tensors."""

    name = "save"

    def prove(self, session: Session, folder: Path) -> Proof:
        """On `adapter/` or `model/` of the run's folder."""
        place = result_folder(RunFolder(folder))
        if place is None:
            return Proof(self.name, "fails", f"{folder} holds neither adapter/ nor model/: nothing was saved")
        files = TensorFiles(place, "adapter_model" if is_adapter(place) else "model")
        found = dict(files.items())
        checks = [
            check("readable", not files.faults, f"{len(found)} tensors read", names(files.faults, 2)),
            _finite(found),
            _adapter_alike(session, place) if is_adapter(place) else _model_alike(session.model, found),
            _tokenizer_alike(session, place),
            _renderer_alike(session, place),
        ]
        evidence = {"files": listed(folder, place), "tensors": digests(folder, files)}
        return Proof.of_checks(
            self.name, checks, f"{checks[2].reason}; tokenizer and renderer read back alike", **evidence
        )

    def verify(self, session: Session, folder: Path, stored: Proof | None) -> Proof:
        """The same on the reopened session, and the files against the checksums the run stored."""
        proof = self.prove(session, folder)
        sums = {} if stored is None else stored.evidence.get("files", {})
        changed = [
            name for name, told in sums.items() if not (folder / name).is_file() or sha256(folder / name) != told
        ]
        if changed:
            reason = f"changed since the run wrote them: {names(changed, 3)}"
            return Proof(self.name, "fails", reason, proof.evidence | {"changed": changed})
        return proof


def result_folder(run: RunFolder) -> Path | None:
    """Where the run's result stands: its adapter or its model."""
    return next((place for place in (run.adapter, run.model) if place.is_dir()), None)


def listed(folder: Path, place: Path) -> dict[str, str]:
    """SHA-256 by file name, of the result and of what tells how it came about."""
    files = [*sorted(path for path in place.rglob("*") if path.is_file()), *(folder / name for name in BESIDE)]
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files if path.is_file()}


def digests(folder: Path, files: TensorFiles) -> dict[str, str]:
    """SHA-256 of every tensor's bytes alone, by `file:name`: what verify.py can compute without torch."""
    where = {name: path.relative_to(folder).as_posix() for name, path in files.where.items()}
    return {f"{where[name]}:{name}": _bytes_digest(tensor) for name, tensor in files.items()}


def _bytes_digest(tensor: Tensor) -> str:
    digest = hashlib.sha256()
    for part in tensor.contiguous().reshape(-1).split(1 << 24):
        digest.update(part.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _finite(found: Mapping[str, Tensor]) -> Check:
    broken = [name for name, tensor in found.items() if not is_finite(tensor)]
    return check("finite", bool(found) and not broken, f"all {len(found)} finite", f"not finite: {names(broken, 3)}")


def _adapter_alike(session: Session, place: Path) -> Check:
    """The adapter loaded again beside the live one, tensor by tensor."""
    adapters = acting(session.model)
    if len(adapters) != 1:
        return Check("tensors", "fails", f"{len(adapters)} adapters act where the run trained one")
    live = {name: checksum(t.float()) for name, t in kept_tensors(session.model, adapters[0]).items()}
    heads = {name: checksum(p) for name, p in _head_tensors(session.model).items()}
    try:
        with _grads_kept(session.model), use(session.model, None):
            load_adapter(session.model, place, AGAIN)
            read = {name: checksum(t.float()) for name, t in own_tensors(session.model, AGAIN).items()}
            remove(session.model, AGAIN)
    except Refusal as refusal:
        return Check("tensors", "fails", f"what was saved cannot be loaded onto this model: {refusal}")
    differ = sorted(name for name in live.keys() | read.keys() if live.get(name) != read.get(name))
    differ += [name for name, p in _head_tensors(session.model).items() if checksum(p) != heads[name]]
    reason = f"{len(live)} tensors read back bit for bit"
    return check("tensors", not differ, reason, f"read back otherwise than saved: {names(differ, 3)}")


def _head_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    return {f"{head}.{leaf}": p for head, module in new_heads(model).items() for leaf, p in module.named_parameters()}


def _model_alike(model: PreTrainedModel, found: Mapping[str, Tensor]) -> Check:
    """Every tensor of the file is a live one, of that name where transformers keeps names, and none is missing."""
    state = {name: tensor for name, tensor in model.state_dict().items() if ".originals." not in name}
    live = {name: checksum(tensor) for name, tensor in state.items()}
    files = {name: checksum(tensor) for name, tensor in found.items()}
    values = set(live.values())
    differ = [name for name, told in files.items() if (told != live[name] if name in live else told not in values)]
    lost = [name for name, told in live.items() if told not in files.values()]
    why = f"read back otherwise: {names(differ, 3)}" if differ else f"not in the file: {names(lost, 3)}"
    return check("tensors", not differ and not lost, f"{len(files)} tensors read back bit for bit", why)


def _tokenizer_alike(session: Session, place: Path) -> Check:
    try:
        again: Any = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError) as error:
        return Check("tokenizer", "fails", f"no tokenizer can be read from {place}: {error}")
    text = PROBE + "".join(session.tokenizer.all_special_tokens)
    same = again(text)["input_ids"] == session.tokenizer(text)["input_ids"]
    same = same and again.chat_template == _template(session)
    return check("tokenizer", same, "the saved tokenizer gives the same ids", "the saved tokenizer is another one")


def _template(session: Session) -> Any:
    """The chat template that is saved: a model tuned on conversations gets the one they were rendered by."""
    own, renderer = session.tokenizer.chat_template, session.renderer
    return renderer.template.source if renderer.kind == "messages" and not isinstance(own, dict) else own


def _renderer_alike(session: Session, place: Path) -> Check:
    try:
        same = load_renderer(place, session.tokenizer).digest == session.renderer.digest
    except Refusal as refusal:
        return Check("renderer", "fails", str(refusal))
    return check("renderer", same, "the saved renderer is the run's", "the saved renderer is another one")


@contextmanager
def _grads_kept(model: PreTrainedModel) -> Iterator[None]:
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        yield
    finally:
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)

"""Do rows that share a forward pass see each other? Log-probabilities together and alone, on the run's own rows."""

from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accorda.data.batch import Batch, Segment
from accorda.data.labelled.batch import LabelledBatch
from accorda.data.preferences.batch import PreferenceBatch
from accorda.models.labels import is_classifier
from accorda.proofs.contract import Proof, Prover, within
from accorda.proofs.numerics import TOLERANCE, alone, few_rows, in_fp32, largest
from accorda.proofs.rows import readable
from accorda.training.classifying import row_scores
from accorda.training.next_token import next_token_log_probs
from accorda.training.rewarding import rewards
from accorda.training.session import Session


class Packing(Prover):
    """Log-probabilities of rows packed or padded together equal those of the same rows alone."""

    name = "packing"

    def prove(self, session: Session, folder: Path) -> Proof:
        """One small batch made the way the run makes them, against transformers' own forward pass row by row."""
        segments, batch = small_batch(session)
        if len(segments) < 2:
            return Proof(self.name, "not applicable", "there are not two rows that could see each other")
        with torch.no_grad(), in_fp32(session.model):
            ours, theirs = together(session.model, batch), alone(session.model, segments)
        how = "packed end to end" if batch.packing is not None else "padded side by side"
        evidence = {"rows": list(batch.rows), "supervised_tokens": len(theirs), "how": how, "tolerance": TOLERANCE}
        if len(ours) != len(theirs):
            reason = f"{len(theirs)} supervised tokens in these rows, {len(ours)} targets in their batch"
            return Proof(self.name, "fails", reason, evidence)
        difference = largest(ours - theirs)
        evidence["difference"] = difference
        if difference > TOLERANCE:
            reason = f"rows {how} differ from the same rows alone by up to {difference:.1e} nats: they see each other"
            return Proof(self.name, "fails", reason, evidence)
        reason = f"{len(segments)} rows {how} give the log-probabilities of each alone {within(difference)}"
        return Proof(self.name, "holds", reason, evidence)


def small_batch(session: Session) -> tuple[list[Segment], Batch]:
    """A few short rows of the first step in one batch, packed or padded as the run does."""
    segments = few_rows(readable(session.train, session.batches.rows(0)))
    return segments, batch_of(session, segments)


def batch_of(session: Session, segments: list[Segment]) -> Batch:
    """These rows in one batch, packed or padded as the run does."""
    return session.batches.together(segments)


def together(model: PreTrainedModel, batch: Batch) -> Tensor:
    """The log-probabilities of a batch as the run computes them: of its tokens, or its rows' labels; or its rewards."""
    if isinstance(batch, PreferenceBatch) and is_classifier(model):
        return rewards(model, batch)
    return row_scores(model, batch) if isinstance(batch, LabelledBatch) else next_token_log_probs(model, batch)

"""Stages: a recipe becomes a session, and the session a run."""

from accorda.stages.plan import plan
from accorda.stages.train import Run, reopen, resume, train, verify

__all__ = ["Run", "plan", "reopen", "resume", "train", "verify"]

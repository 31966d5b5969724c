"""A few held-out rows with the rewards of their answers: what `samples.json` of a reward model holds."""

from time import monotonic
from typing import Any

from accorda.data.example import Example
from accorda.data.preferences.dataset import PreferenceDataset
from accorda.evaluation.preferences.judge import judged
from accorda.evaluation.side_by_side import HELD_OUT, TRAINED_ON
from accorda.training.comparing import Comparing
from accorda.training.rng import undisturbed
from accorda.training.session import Session


def samples(session: Session, seconds: float) -> dict[str, Any] | None:
    """The first `evaluation.samples` rows: what was asked, the better answer, and every answer's reward.

    An untrained head says nothing, so the base stands not beside it. What it costs is far below `seconds`.
    """
    rows = session.eval if session.eval is not None else session.train
    wanted = min(session.recipe.evaluation.samples, len(rows))
    assert isinstance(rows, PreferenceDataset)
    assert isinstance(session.objective, Comparing)
    if not wanted:
        return None
    began = monotonic()
    with undisturbed(), session.loop.precision.autocast():
        found = judged(session.model, session.objective, [rows[row] for row in range(wanted)])
    return {
        "rows": HELD_OUT if session.eval is not None else TRAINED_ON,
        "labelled": True,
        "seconds": monotonic() - began,
        "samples": [
            {
                "prompt": asked(rows.example(row)),
                "reference": session.renderer.completion_text(rows.example(row)),
                "tuned": {"text": told(rows.example(row), rewards), "stopped": True},
            }
            for row, (_, rewards) in enumerate(found)
        ],
    }


def asked(example: Example) -> str:
    """What the answers are about, as text."""
    return example.prompt if example.prompt is not None else "\n".join(turn.content for turn in example.messages)


def told(example: Example, rewards: list[float], answer: int | None = None) -> str:
    """Every answer behind its reward, the better ones first; or the one answer that was judged by itself."""
    if answer is not None:
        return f"{rewards[0]:+.3f}  {example.answers[answer].content.strip()}"
    ranked = sorted(zip(example.ranks, rewards, example.answers, strict=True), key=lambda entry: entry[0])
    return "\n".join(f"{reward:+.3f}  {answer.content.strip()}" for _, reward, answer in ranked)

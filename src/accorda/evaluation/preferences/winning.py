"""How often one model's answers are better than another's to the same prompts.

    win rate = mean over prompts of 1 where ours is better, 1/2 where both are worth the same, 0 where theirs is

The interval is the bootstrap's over prompts, each with both its answers. Where every prompt ends alike the bootstrap
would be certain; then it is what the rate may be if others end otherwise as often as Clopper and Pearson allow where
none was seen (see `evaluation.intervals`), to either side where all are worth the same.
"""

from collections.abc import Sequence

import numpy as np

from accorda.evaluation.intervals import NUM_RESAMPLES, Estimate, alike, bounds


def win_rate(ours: Sequence[float], theirs: Sequence[float], *, seed: int = 0) -> Estimate:
    """Of our answers' worth over theirs, prompt by prompt.

    Raises:
        ValueError: not as many of the one as of the other, or none.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"{len(ours)} of our answers and {len(theirs)} of theirs cannot be compared prompt by prompt")
    difference = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    won = (np.sign(difference) + 1) / 2
    if (won == 0.5).all():
        _, otherwise = alike(0.0, len(won))
        return Estimate(0.5, 0.5 - otherwise / 2, 0.5 + otherwise / 2)
    if (won == won[0]).all():
        return Estimate(float(won[0]), *alike(float(won[0]), len(won)))
    drawn = np.random.default_rng(seed).integers(len(won), size=(NUM_RESAMPLES, len(won)))
    return Estimate(float(won.mean()), *bounds(sorted(won[drawn].mean(1).tolist())))

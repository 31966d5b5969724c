"""Advantages of completions among the G of the same prompt: no value model.

`grpo`: Shao et al., "DeepSeekMath" (2024), arXiv:2402.03300, section 4.1.2. `dr_grpo`: Liu et al., "Understanding
R1-Zero-Like Training" (2025), arXiv:2503.20783. `rloo`: Ahmadian et al., "Back to Basics" (2024), arXiv:2402.14740,
after Kool et al. (2019). `grpo_batch`: TRL's `scale_rewards="batch"`.

    grpo:        (r_i - mean) / (std + 1e-4)                   std unbiased, over the group
    grpo_batch:  (r_i - mean) / (std + 1e-4)                   mean over the group, std over all groups
    dr_grpo:     r_i - mean
    rloo:        r_i - mean of the others = G / (G - 1) (r_i - mean)

The mean contains the completion's own reward, which shrinks the gradient by (G - 1) / G; only `rloo` is unbiased.
Dividing by the std weighs prompts by how sure the policy is. A group of equal rewards gives exactly zero. A constant
added to all rewards of a prompt changes nothing, except that `grpo_batch` sees it in its std.
"""

from torch import Tensor

EPSILON = 1e-4


def grpo(rewards: Tensor) -> Tensor:
    """Advantages in units of the group's standard deviation, (N, G) -> (N, G).

    Raises:
        ValueError: groups of one.
    """
    return dr_grpo(rewards) / (rewards.std(-1, keepdim=True) + EPSILON)


def grpo_batch(rewards: Tensor, std: Tensor | None = None) -> Tensor:
    """Advantages in units of the standard deviation of all rewards of the step, (N, G) -> (N, G).

    Args:
        rewards: of groups.
        std: of all rewards, where `rewards` are not all of them.

    Raises:
        ValueError: groups of one.
    """
    return dr_grpo(rewards) / ((rewards.std() if std is None else std) + EPSILON)


def dr_grpo(rewards: Tensor) -> Tensor:
    """Advantages in units of the reward, (N, G) -> (N, G).

    Raises:
        ValueError: groups of one.
    """
    if rewards.shape[-1] < 2:
        raise ValueError(f"advantages within a group need two generations or more, not {rewards.shape[-1]}")
    from_first = rewards - rewards[..., :1]  # so that equal rewards give zero, not a rounding error times 1e4
    return from_first - from_first.mean(-1, keepdim=True)


def rloo(rewards: Tensor) -> Tensor:
    """Advantages over the mean of the others, (N, G) -> (N, G).

    Raises:
        ValueError: groups of one.
    """
    generations = rewards.shape[-1]
    return dr_grpo(rewards) * generations / (generations - 1)

"""TRL's own loss functions, called on log-probabilities: a trainer of attributes only, without a model."""

import os
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from accorda.objectives.preference.contract import Pairs

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"


def trainer(**settings: Any) -> Any:
    """What TRL's losses read of a trainer."""
    same = lambda tensor, **_: tensor  # noqa: E731
    accelerator = SimpleNamespace(device="cpu", gather=same, gather_for_metrics=same, reduce=same, num_processes=1)
    common: dict[str, Any] = {
        "accelerator": accelerator,
        "model": SimpleNamespace(training=False),
        "aux_loss_enabled": False,
        "_metrics": defaultdict(lambda: defaultdict(list)),
        "_total_train_tokens": 0,
    }
    return SimpleNamespace(**common | settings)


def completions(sums: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of tokens (B, T) with these sums (B,), and their mask: lengths[b] equal tokens, padded."""
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).to(sums.dtype)
    return mask * (sums / lengths)[:, None], mask


def dpo(loss_type: str, pairs: Pairs, **settings: Any) -> tuple[Tensor, Any]:
    """TRL's DPO loss of a batch of pairs, and the metrics it logs."""
    from trl.trainer.dpo_trainer import DPOTrainer

    policy = torch.cat([pairs.policy_chosen, pairs.policy_rejected])
    log_probs, mask = completions(policy, torch.cat([pairs.chosen_lengths, pairs.rejected_lengths]))
    outputs = SimpleNamespace(
        log_probs=log_probs, entropy=log_probs, mean_logits=log_probs, is_top1=mask.bool(), loss=None
    )
    fake = trainer(
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[loss_type],
        loss_weights=[1.0],
        use_weighting=False,
        **settings,
    )
    with_prompt = torch.cat([torch.zeros(len(mask), 1), mask], 1)
    inputs = {
        "input_ids": with_prompt.long(),
        "attention_mask": torch.ones_like(with_prompt),
        "completion_mask": with_prompt,
        "ref_chosen_logps": pairs.reference_chosen,
        "ref_rejected_logps": pairs.reference_rejected,
    }
    loss = DPOTrainer._compute_loss(fake, lambda **_: outputs, inputs, False)
    return loss, fake._metrics["eval"]


def orpo(means: tuple[Tensor, Tensor], beta: float) -> Tensor:
    """TRL's odds-ratio term per pair, of mean log-probabilities of chosen and rejected."""
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    return ORPOTrainer.odds_ratio_loss(trainer(beta=beta), *means)[0]


def simpo(means: tuple[Tensor, Tensor], beta: float, gamma: float) -> Tensor:
    """TRL's SimPO loss per pair, of mean log-probabilities of chosen and rejected."""
    from trl.experimental.cpo.cpo_trainer import CPOTrainer

    fake = trainer(alpha=0.0, loss_type="simpo", simpo_gamma=gamma, beta=beta, label_smoothing=0.0)
    return CPOTrainer.cpo_loss(fake, *means)[0]


def grpo(loss_type: str, log_probs: Tensor, others: dict[str, Tensor], **settings: Any) -> Tensor:
    """TRL's GRPO loss of a batch in one piece; `others`: old_log_probs, reference, mask (B, T) and advantages (B,)."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    mask = others["mask"]
    common: dict[str, Any] = {
        "importance_sampling_level": "token",
        "beta": 0.0,
        "epsilon_low": 0.2,
        "epsilon_high": 0.2,
        "args": SimpleNamespace(use_bias_correction_kl=False, delta=None),
    }
    fake = trainer(
        loss_type=loss_type,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        current_gradient_accumulation_steps=1,
        _get_per_token_logps_and_entropies=lambda *_, **__: (log_probs, torch.zeros_like(log_probs), None),
        **common | settings,
    )
    inputs = {
        "prompt_ids": mask.long(),
        "prompt_mask": mask,
        "completion_ids": mask.long(),
        "completion_mask": mask,
        "advantages": others["advantages"],
        "old_per_token_logps": others["old_log_probs"],
        "ref_per_token_logps": others.get("reference"),
        "num_items_in_batch": mask.sum(),
    }
    return GRPOTrainer._compute_loss(fake, None, inputs)


def reward(chosen: Tensor, rejected: Tensor, margin: Tensor, centring: float) -> Tensor:
    """TRL's loss of a reward model over a batch."""
    from trl.trainer.reward_trainer import RewardTrainer

    outputs = SimpleNamespace(logits=torch.cat([chosen, rejected])[:, None])
    fake = trainer(args=SimpleNamespace(center_rewards_coefficient=centring))
    return RewardTrainer.compute_loss(fake, lambda **_: outputs, {"margin": margin})

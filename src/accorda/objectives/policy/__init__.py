"""What a policy learns from its own samples: the pieces that PPO, GRPO, RLOO and their kin are chosen from.

One legend for the folder: B sequences, T tokens of a completion, N prompts, G generations per prompt. A completion's
mask (B, T) is 1 on every sampled token, the end-of-turn token among them, and 0 elsewhere.
"""

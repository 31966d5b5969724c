"""How well a reward model, or the reward that a policy implies, agrees with people."""

"""Learning from one's own answers: rollout, reward and advantage, and the algorithms that put them together."""

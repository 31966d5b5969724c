"""What preferences teach a policy without a reward model: one algorithm per file, its file's name is its name."""

"""Rows that ask and do not answer: what stage rl lets a model answer. Their other columns are for the reward."""

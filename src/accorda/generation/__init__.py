"""Generation: tokens from a model through its key/value cache, greedy or sampled."""

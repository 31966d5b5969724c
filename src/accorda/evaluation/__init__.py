"""Evaluation: metrics with confidence intervals, the three-row report, and the evaluator of a running training."""

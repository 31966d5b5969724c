"""Evaluation of models with a classification head: metrics of classes and numbers, and what to hold them against."""

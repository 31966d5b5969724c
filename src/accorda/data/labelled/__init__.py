"""Rows with a label: a text, or two, and what a classification head should say to it."""

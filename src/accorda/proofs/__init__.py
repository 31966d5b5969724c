"""Proofs: what a run did, shown from its live state and again from its files."""

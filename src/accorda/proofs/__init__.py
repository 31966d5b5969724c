"""Proofs: what a run did, shown from its live state and again from its files."""

from accorda.proofs.contract import Check, Proof
from accorda.proofs.coverage import covered
from accorda.proofs.mask import masked
from accorda.proofs.proving import observers, prove, verify

__all__ = ["Check", "Proof", "covered", "masked", "observers", "prove", "verify"]

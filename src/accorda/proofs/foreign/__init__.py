"""Checks of an adapter or model folder that any tool wrote: PEFT, TRL, Unsloth, Axolotl, LLaMA-Factory, accorda."""

from accorda.proofs.foreign.verify import verify_folder

__all__ = ["verify_folder"]

"""A checkpoint of transformers' Trainer (TRL, Axolotl, LLaMA-Factory): what would a resumed run not find?

The trainer goes on without a file that is missing, with an empty optimizer or another order of rows, and says nothing.
"""

from pathlib import Path

from accorda.proofs.contract import Check, check

STATE = "trainer_state.json"
PARTS = {
    "optimizer": (
        "optimizer.pt",
        "optimizer.bin",
        "optimizer*/*",
        "global_step*/*optim_states.pt",
        "pytorch_model_fsdp*",
    ),
    "learning-rate schedule": ("scheduler.pt", "global_step*/*optim_states.pt"),
    "random generators": ("rng_state.pth", "rng_state_*.pth"),
}


def resumable(folder: Path) -> list[Check]:
    """One check per part of the state, where the folder is such a checkpoint."""
    if not (folder / STATE).is_file():
        return [Check("checkpoint", "not applicable", f"no {STATE}: the folder is a result, not a checkpoint")]
    return [_part(folder, what, patterns) for what, patterns in PARTS.items()]


def _part(folder: Path, what: str, patterns: tuple[str, ...]) -> Check:
    found = any(next(folder.glob(pattern), None) for pattern in patterns)
    lost = f"no {patterns[0]}: a run resumed from here starts with a fresh state of its {what} and does not say so"
    return check(what, found, f"the state of the {what} is there", lost)

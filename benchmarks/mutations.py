"""Twelve mutations of running code, one at a time: what refuses each, here and in TRL + PEFT. Measured, not assumed."""

import importlib.metadata
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import _trl_mutations as theirs


def main() -> dict[str, Any]:
    """The table; `refused` counts the mutations that something refused."""
    import pytest
    import torch
    from tests.proofs.mutations import MUTATIONS, UNMUTATED, as_json, outcome

    torch.set_num_threads(1)
    rows = []
    for mutation in (UNMUTATED, *MUTATIONS):
        with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as place:
            row = as_json(mutation.name, outcome(Path(place), mutation, patch))
            row["reason"] = row["reason"].replace(f"{place}/", "")
        if mutation is not UNMUTATED:
            row["trl"] = theirs.measure(mutation.name)
        rows.append(row)
    mutated, made = rows[1:], [row["trl"] for row in rows[1:] if row["trl"]["made"]]
    return {
        "versions": {name: importlib.metadata.version(name) for name in ("trl", "peft", "transformers")},
        "unmutated_proven": not rows[0]["refused"],
        "accorda_refuses": f"{sum(row['refused'] for row in mutated)} of {len(mutated)}",
        "trl_raises": f"{sum(row['trl'] == 'raised' for row in made)} of {len(made)} that could be made",
        "trl_warns": f"{sum(row['trl'] == 'warned' for row in made)} of {len(made)}",
        "seen_in_trl_folder_by_accorda_verify": f"{sum(map(_seen, made))} of {len(made)}",
        "rows": rows,
    }


def _seen(row: dict[str, Any]) -> bool:
    return bool(row["accorda_verify"])

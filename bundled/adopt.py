"""From a pre-trained run to the model in the package: its weights rounded to bfloat16, half the size on disk."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from accorda.errors import Refusal
from accorda.runs.layout import RunFolder
from bundled.tokenizer import END_OF_TEXT, END_OF_TURN, SPECIAL

CONFIG = "config.json"
WEIGHTS = "model.safetensors"


def adopt(run: Path, folder: Path) -> None:
    """Write config and weights of a complete run into `folder`, where the tokenizer already is.

    The weights are stored in bfloat16 and declared float32: they are read back into float32, as the model was trained.

    Raises:
        Refusal: the run is not complete.
    """
    source = RunFolder(run)
    if not source.is_complete():
        raise Refusal(f"{run}: not a complete run; train it with: accorda train bundled/pretrain.yaml")
    tensors = {
        name: tensor.to(torch.bfloat16).contiguous() for name, tensor in load_file(source.model / WEIGHTS).items()
    }
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((source.model / CONFIG).read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    stops = {
        "eos_token_id": [SPECIAL.index(END_OF_TEXT), SPECIAL.index(END_OF_TURN)],
        "pad_token_id": config["pad_token_id"],
    }
    (folder / "generation_config.json").write_text(json.dumps(stops, indent=2) + "\n", encoding="utf-8")

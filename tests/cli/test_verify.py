import json
import shutil

import torch
from safetensors.torch import load_file, save_file

from accorda.cli.main import main


def verdicts(capsys):
    return json.loads(capsys.readouterr().out)["proofs"]


def test_an_adapter_folder_with_rows_and_columns(tiny, adapter, tmp_path, capsys):
    (tmp_path / "rows.csv").write_text("question,answer\n1 and 1 is,2.\n2 and 2 is,4.\n")
    columns = ["--column", "prompt=question", "--column", "completion=answer"]
    given = ["--base", str(tiny), "--data", str(tmp_path / "rows.csv"), *columns, "--json"]
    code = main(["verify", str(adapter), *given])
    found = verdicts(capsys)
    assert found["merge"] == found["coverage"] == found["save"] == "holds"
    assert code == (1 if "fails" in found.values() else 0)


def test_a_factor_at_zero_ends_with_one(tiny, adapter, tmp_path, capsys):
    copy = shutil.copytree(adapter, tmp_path / "copy")
    path = copy / "adapter_model.safetensors"
    save_file({name: torch.zeros_like(t) if "lora_B" in name else t for name, t in load_file(path).items()}, path)
    assert main(["verify", str(copy), "--base", str(tiny)]) == 1
    shown = capsys.readouterr()
    assert "at 14 of 14 sites a factor is zero throughout" in shown.out + shown.err

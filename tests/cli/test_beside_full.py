"""Full fine-tuning with another method beside it: an adapter, though every parameter of the base trains."""

import json
import os
import shutil

import pytest
import torch
from tests.stages.compared import PAIRS
from tests.stages.runs import SUMS, write_rows

import accorda
from accorda.cli.main import main
from accorda.methods.install import installed, own_tensors
from accorda.methods.targets import base_parameters
from accorda.runs.layout import RunFolder
from accorda.stages import reopen


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    write_rows(tmp_path / "rows.jsonl", SUMS)
    write_rows(tmp_path / "pairs.jsonl", PAIRS)


def flags(tiny, method, *more):
    few = ("training.max_steps=4", "training.checkpoint_every=2", "training.threads=1", "training.batch_size=8")
    return ["train", "--model", str(tiny), "--method", method, "--output", "run", "--lr", "0.01", *few, *more]


@pytest.mark.parametrize("method", ["lora+full", "full+houlsby"])
def test_a_pair_is_trained_resumed_measured_and_loaded(method, tiny, tmp_path, capsys):
    assert main(flags(tiny, method, "--data", "rows.jsonl")) == 0, capsys.readouterr().err
    run = RunFolder(tmp_path / "run")
    file = run.adapter / "adapter_model.safetensors"
    whole = file.read_bytes()
    run.result.unlink()
    shutil.rmtree(run.adapter)
    assert main(["resume", "run"]) == 0, capsys.readouterr().err
    assert file.read_bytes() == whole
    assert main(["verify", "run"]) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert main(["eval", "run", "--shots", "1", "--limit", "2", "--json"]) == 0
    told = {row["name"]: row["metrics"] for row in json.loads(capsys.readouterr().out)["rows"]}
    assert told["base"]["perplexity"]["value"] != told["tuned"]["perplexity"]["value"]
    live, loaded, base = reopen(run).model, accorda.load_model("run"), accorda.load_model(tiny)
    assert {type(one).__name__.lower() for one in installed(loaded)["default"]} == set(method.split("+"))
    assert own_tensors(loaded, "default").keys() > base_parameters(base).keys()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, live(ids).logits, rtol=0, atol=0)
        assert not torch.allclose(loaded(ids).logits, base(ids).logits, atol=1e-2)
        with accorda.use(loaded, None):
            torch.testing.assert_close(loaded(ids).logits, base(ids).logits, rtol=0, atol=0)


@pytest.mark.parametrize(
    "more",
    [
        ("--data", "rows.jsonl", "model.added_tokens=[<ticket>,<done>]"),
        ("--data", "pairs.jsonl", "--stage", "preference"),
    ],
    ids=["added tokens", "preference"],
)
def test_a_pair_ends_with_a_result_in_other_runs(more, tiny, capsys):
    assert main(flags(tiny, "lora+full", *more)) == 0, capsys.readouterr().err
    assert os.path.isfile("run/adapter/adapter_model.safetensors")
    assert main(["verify", "run"]) == 0, capsys.readouterr().err

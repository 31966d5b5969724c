import json
from pathlib import Path

import pytest
import torch

from accorda.cli.main import main
from accorda.cli.merge import told
from accorda.methods.open import open_model
from accorda.models.load import load_tokenizer

ROWS = [{"prompt": f"{number} and {number} is", "completion": f" {2 * number}."} for number in range(9)]


@pytest.fixture
def rows(tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return tmp_path / "rows.jsonl"


@torch.no_grad()
def same_as_adapter(adapter, merged) -> float:
    from transformers import AutoModelForCausalLM

    ids = torch.tensor([load_tokenizer(adapter)("Natalia sold clips")["input_ids"]])
    plain = AutoModelForCausalLM.from_pretrained(merged)
    tuned = open_model(adapter).model
    base = open_model(adapter).base_path
    assert (tuned(ids).logits - open_model(base or "").model(ids).logits).abs().max() > 0.1
    return float((plain(ids).logits - tuned(ids).logits).abs().max())


def test_the_merged_model_says_what_the_adapter_said_in_plain_transformers(adapter, tmp_path, capsys, rows):
    assert main(["merge", str(adapter), "--output", str(tmp_path / "out"), "--data", str(rows), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["status"] == "merged"
    assert found["proof"]["verdict"] == "holds"
    assert json.loads((tmp_path / "out" / "merge.json").read_text())["proof"] == found["proof"]
    assert same_as_adapter(adapter, tmp_path / "out") < 1e-4


def test_without_rows_a_few_texts_are_compared(adapter, tmp_path, capsys):
    assert main(["merge", str(adapter), "--output", str(tmp_path / "out")]) == 0
    assert "merge holds" in capsys.readouterr().out


def test_a_merge_that_changes_the_model_is_told(adapter, tmp_path, capsys, rows, monkeypatch):
    from accorda.methods.reparametrized.lora import LoRAAdapter

    def wrong(self, base):
        return base.weight.float() + 0.9 * self.scaling * (self.lora_B @ self.lora_A), base.bias

    monkeypatch.setattr(LoRAAdapter, "merged", wrong)
    assert main(["merge", str(adapter), "--output", str(tmp_path / "out"), "--data", str(rows)]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: the proof of merge fails: ")


def test_what_cannot_be_merged(tiny, adapter, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["merge", str(tiny), "--output", "x"]) == 2
    assert capsys.readouterr().err == f"error: RUN = {tiny}: has no adapter, so there is nothing to merge\n"
    (tmp_path / "there").mkdir()
    assert main(["merge", str(adapter), "--output", "there"]) == 2
    assert capsys.readouterr().err == "error: --output there: exists already; choose a new folder\n"
    assert main(["merge", "nope"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_an_adapter_on_an_int8_base_is_merged_into_what_it_was_trained_on(tiny, tmp_path, capsys, rows, monkeypatch):
    from transformers import AutoModelForCausalLM

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    few = ("--lr", "0.05", "--batch-size", "4", "training.max_steps=3", "training.threads=1", "data.eval_split=0.3")
    more = ("model.quantization=int8", "method.target_modules=attention.query", "--output", "run")
    assert main(["train", "--model", str(tiny), "--data", str(rows), *few, *more]) == 0, capsys.readouterr().err
    assert main(["merge", "run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["output"], found["quantization"]) == ("run-merged", "int8")
    ids = torch.tensor([load_tokenizer("run/adapter")("Natalia sold clips")["input_ids"]])
    with torch.no_grad():
        tuned = open_model("run", quantization="int8").model(ids).logits
        plain = AutoModelForCausalLM.from_pretrained("run-merged")(ids).logits
        dense = open_model("run").model(ids).logits
    assert (plain - tuned).abs().max() < 1e-4
    assert (dense - tuned).abs().max() > 1e-4


@pytest.fixture
def quantized_run(tiny, tmp_path, capsys, rows, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))
    few = ("--lr", "0.05", "--batch-size", "4", "training.max_steps=3", "training.threads=1", "data.eval_split=0.3")
    more = ("model.quantization=nf4", "--rank", "2", "--output", "run")
    assert main(["train", "--model", str(tiny), "--data", str(rows), *few, *more]) == 0, capsys.readouterr().err
    capsys.readouterr()


def test_every_way_is_measured_and_the_nearest_taken(quantized_run, tmp_path, capsys):
    assert main(["merge", "run", "--data", "rows.jsonl", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["into"], found["reason"]) == ("dequantized", "of the ways, it diverges least from the adapter")
    assert set(found["measured"]) == {"original", "dequantized", "requantized"}
    assert found["measured"]["dequantized"]["kl"] < 1e-6 < found["measured"]["requantized"]["kl"]
    assert found["measured"]["dequantized"]["loss"] == pytest.approx(found["adapter_loss"], abs=1e-5)
    assert json.loads((tmp_path / "run-merged" / "merge.json").read_text())["measured"] == found["measured"]
    assert main(["merge", "run", "--data", "rows.jsonl", "--output", "table"]) == 0
    assert "dequantized (taken)" in capsys.readouterr().out


def test_a_requantized_model_is_packed_and_tells_its_errors(quantized_run, tmp_path, capsys):
    from accorda.quantization import format_of

    assert main(["merge", "run", "--into", "requantized", "--output", "packed", "--most-kl", "9", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["into"], found["reason"]) == ("requantized", "asked for")
    assert all(0 < error < 0.2 for error in found["quantization_errors"].values())
    assert "<svg" in (tmp_path / "packed" / "quantization_errors.svg").read_text()
    assert format_of(open_model("packed").model).name == "nf4"
    assert main(["merge", "run", "--into", "original", "--output", "dense", "--most-kl", "9", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["measured"]) == ["original"]
    assert format_of(open_model("dense").model) is None


def test_what_is_too_far_away_is_refused_and_not_written(quantized_run, tmp_path, capsys):
    assert main(["merge", "run", "--into", "requantized", "--most-kl", "1e-9", "--output", "far"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: --into requantized: the merged model is ")
    assert told.endswith("try --into original or dequantized")
    assert main(["merge", "run", "--into", "requantised", "--output", "far"]) == 2
    assert "requantised: no such choice; did you mean requantized?" in capsys.readouterr().err
    assert not (tmp_path / "far").exists()


def test_a_dense_base_has_one_way(adapter, tmp_path, capsys, rows):
    assert main(["merge", str(adapter), "--output", str(tmp_path / "out"), "--into", "dequantized"]) == 2
    assert "the base is in no number format" in capsys.readouterr().err
    for into, reason in (("auto", "the only way"), ("original", "asked for")):
        out = tmp_path / into
        assert main(["merge", str(adapter), "--output", str(out), "--into", into, "--most-kl", "9"]) == 0
        assert json.loads((out / "merge.json").read_text())["reason"] == reason


def test_what_fp32_rounds_is_no_divergence():
    found = {"kl": 1.7e-8, "top1": 1.0, "loss": 2.5}
    receipt = {
        "into": "dequantized",
        "quantization": "nf4",
        "measured": {"original": found | {"kl": 0.0123}, "dequantized": found},
        "adapter_loss": 2.5,
        "positions": 7,
        "refused": {},
        "quantization_errors": {},
        "proof": {"verdict": "holds", "reason": "alike"},
    }
    lines = told(receipt, Path("out")).splitlines()
    assert "below 1e-07" in next(line for line in lines if line.startswith("dequantized"))
    assert "1.23e-02" in next(line for line in lines if line.startswith("original"))

"""A tuned model on rows: what PEFT trained, with and without the end of the answers among its labels."""

import shutil
from pathlib import Path

import pytest
import torch
from peft import LoHaConfig, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tests.zoo import tiny_model_folder
from transformers import AutoModelForCausalLM, AutoTokenizer

from accorda.errors import Refusal
from accorda.proofs.foreign import verify_folder

ROWS = [{"prompt": f"What is {n}? ", "completion": f"It is {n}, as always."} for n in range(8)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def rows():
    return ROWS


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    return tuned(base, tmp_path_factory.mktemp("trained") / "adapter")


@pytest.fixture
def adapter(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "adapter"))


def tuned(base, folder, *, with_end=True, config=None):
    """Trained by hand on the rows, as a script of anybody's would."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    torch.manual_seed(0)
    config = config or LoraConfig(target_modules=["q_proj", "v_proj", "up_proj"], r=4, task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
    for _ in range(8):
        for row in ROWS:
            ids = torch.tensor([[*tokenizer(row["prompt"] + row["completion"])["input_ids"], 2]])
            labels = ids.clone()
            labels[0, : len(tokenizer(row["prompt"])["input_ids"])] = -100
            if not with_end:
                labels[0, -1] = -100
            model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def found(folder, base, name, **given):
    proof = next(proof for proof in verify_folder(folder, base, **given) if proof.name == name)
    return proof, {entry["name"]: entry for entry in proof.evidence.get("checks", ())}


def test_an_adapter_that_learned_to_end(base, adapter, rows):
    proof, checks = found(adapter, base, "mask", data=rows)
    assert checks["end learned"]["verdict"] == "holds", checks
    assert proof.verdict == "holds", proof.reason
    proof, _ = found(adapter, base, "merge", data=rows)
    assert proof.verdict == "holds", proof.reason
    assert proof.evidence["modules"] == 6


def test_an_adapter_whose_end_was_left_unlabelled(base, tmp_path, rows):
    proof, checks = found(tuned(base, tmp_path / "a", with_end=False), base, "mask", data=rows)
    assert proof.verdict == "fails"
    assert checks["end learned"]["reason"].endswith("was eos left unlabelled?")


def test_rows_it_was_not_tuned_on(base, adapter, rows):
    path = adapter / "adapter_model.safetensors"
    save_file({name: -t if "lora_B" in name else t for name, t in load_file(path).items()}, path)
    _, checks = found(adapter, base, "mask", data=rows)
    assert checks["end learned"]["verdict"] == "not applicable"
    assert checks["end learned"]["reason"].startswith("these rows are not what it was tuned on")


def test_rows_in_a_file_with_columns(base, adapter, tmp_path):
    (tmp_path / "rows.csv").write_text("question,answer\nWhat is 1? ,It is 1.\nWhat is 2? ,It is 2.\n")
    columns = {"prompt": "question", "completion": "answer"}
    proof, _ = found(adapter, base, "merge", data=tmp_path / "rows.csv", columns=columns)
    assert (proof.verdict, len(proof.evidence["rows"])) == ("holds", 2)
    with pytest.raises(Refusal, match="no such file"):
        found(adapter, base, "merge", data=tmp_path / "nothing.csv")


def test_a_merged_model_against_its_base(base, adapter, tmp_path, rows):
    from peft import PeftModel

    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "merged")
    proof, checks = found(tmp_path / "merged", base, "mask", data=rows)
    assert checks["end learned"]["verdict"] == "holds"
    proof, _ = found(tmp_path / "merged", base, "merge", data=rows)
    assert proof.reason == "a whole model has nothing to merge"
    _, checks = found(tmp_path / "merged", None, "mask", data=rows)
    assert "give it with --base" in checks["end learned"]["reason"]


def test_what_accorda_cannot_run(base, tmp_path, rows):
    config = LoHaConfig(target_modules=["q_proj"], r=2, task_type="CAUSAL_LM")
    adapter = tuned(base, tmp_path / "a", config=config)
    proof, _ = found(adapter, base, "merge", data=rows)
    assert proof.verdict == "not applicable"
    assert "LOHA" in proof.reason


def test_a_factor_that_does_not_fit_its_base(base, adapter, rows):
    path = adapter / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors["base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight"] = torch.zeros(4, 32)
    save_file(tensors, path)
    proof, _ = found(adapter, base, "merge", data=rows)
    assert proof.verdict == "not applicable"
    assert "layers.9" in proof.reason

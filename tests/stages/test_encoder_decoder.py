"""Whole runs of encoder-decoders: every proof that applies, resume, evaluation, and files that others read."""

import hashlib
import json
import signal
import subprocess
import sys
import time

import peft
import pytest
import torch
import transformers as hf
from tests.stages.runs import settings
from tests.zoo import ENCODER_DECODERS, tiny_model_folder

from accorda.errors import Refusal
from accorda.evaluation.report import report
from accorda.methods.open import open_model
from accorda.proofs import verify
from accorda.recipe.load import load
from accorda.recipe.write import dump
from accorda.runs import events
from accorda.stages import reopen, resume, train

TRAIN = "import torch; torch.set_num_threads(1); from accorda.stages import train; import sys; train(sys.argv[1])"
LONG = {"training": {"max_steps": 12, "checkpoint_every": 3}, "method": {"name": "lora", "rank": 2, "dropout": 0.2}}
INPUTS = {"input_ids": torch.tensor([[5, 9, 4, 2, 8]]), "decoder_input_ids": torch.tensor([[2, 7, 3]])}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))


def verdicts(proofs):
    return {proof.name: proof.verdict for proof in proofs}


@pytest.mark.parametrize("packing", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("architecture", ENCODER_DECODERS)
def test_a_run_proves_itself_and_again_from_its_files(architecture, packing, tmp_path):
    chosen = settings(tmp_path, architecture=architecture, training={"packing": packing})
    run = train(load(chosen))
    found = verdicts(run.proofs)
    assert found.pop("start") == found.pop("roles") == "not applicable"  # no reference, no roles
    assert set(found.values()) == {"holds"}
    (mask,) = [proof for proof in run.proofs if proof.name == "mask"]
    assert "two sides" in {entry["name"] for entry in mask.evidence["checks"]}
    assert verdicts(verify(run.folder.path, reopen=reopen)) == verdicts(run.proofs)
    config = json.loads((run.folder.adapter / "adapter_config.json").read_text())
    assert config["task_type"] == "SEQ_2_SEQ_LM"


@pytest.mark.parametrize("architecture", ENCODER_DECODERS)
@pytest.mark.parametrize("method", ["full", "prompt_tuning"])
def test_other_methods_prove_themselves(method, architecture, tmp_path):
    run = train(load(settings(tmp_path, architecture=architecture, method={"name": method})))
    found = verdicts(run.proofs)
    assert found.pop("merge") == found.pop("start") == found.pop("roles") == "not applicable"
    assert set(found.values()) == {"holds"}


def test_a_killed_run_ends_in_the_same_bytes(tmp_path):
    def result(folder):
        return hashlib.sha256((folder.adapter / "adapter_model.safetensors").read_bytes()).hexdigest()

    whole = result(train(load(settings(tmp_path, "whole", architecture="t5", **LONG))).folder)
    recipe, log = tmp_path / "killed.yaml", tmp_path / "killed" / "events.jsonl"
    recipe.write_text(dump(load(settings(tmp_path, "killed", architecture="t5", **LONG))), encoding="utf-8")
    with subprocess.Popen([sys.executable, "-c", TRAIN, str(recipe)], stderr=subprocess.PIPE) as process:
        while process.poll() is None and not (log.exists() and log.read_bytes().count(b'"step",') > 4):
            time.sleep(0.002)
        process.kill()
        _, told = process.communicate()
    assert process.returncode == -signal.SIGKILL, told.decode()
    run = resume(tmp_path / "killed")
    assert result(run.folder) == whole
    assert [event["step"] for event in events.read(run.folder.events) if event["event"] == "step"] == list(range(1, 13))


@pytest.mark.parametrize("architecture", ENCODER_DECODERS)
@pytest.mark.parametrize("method", [{"name": "lora", "rank": 2}, {"name": "prompt_tuning"}], ids=lambda m: m["name"])
def test_the_adapter_is_peft_s_too(architecture, method, tmp_path):
    run = train(load(settings(tmp_path, architecture=architecture, method=method)))
    base = hf.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / architecture)
    theirs = peft.PeftModel.from_pretrained(base, run.folder.adapter).eval()
    ours = open_model(run.folder.path).model
    with torch.no_grad():
        torch.testing.assert_close(ours(**INPUTS).logits, theirs(**INPUTS).logits, rtol=1e-4, atol=1e-5)
    readme = (run.folder.adapter / "README.md").read_text() if (run.folder.adapter / "README.md").exists() else ""
    assert not readme or "AutoModelForSeq2SeqLM" in readme


@pytest.mark.parametrize("architecture", ENCODER_DECODERS)
def test_a_prompt_by_peft_is_read(architecture, tmp_path):
    folder = tiny_model_folder(tmp_path, architecture)
    config = peft.PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=4)
    theirs = peft.get_peft_model(hf.AutoModelForSeq2SeqLM.from_pretrained(folder), config).eval()
    theirs.save_pretrained(tmp_path / "prompt")
    ours = open_model(folder, adapter=tmp_path / "prompt").model
    with torch.no_grad():
        torch.testing.assert_close(ours(**INPUTS).logits, theirs(**INPUTS).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ENCODER_DECODERS)
def test_a_tuned_model_is_plain_transformers(architecture, tmp_path):
    run = train(load(settings(tmp_path, architecture=architecture, method={"name": "full"})))
    theirs = hf.AutoModelForSeq2SeqLM.from_pretrained(run.folder.model)
    ours = open_model(run.folder.path).model
    with torch.no_grad():
        assert torch.equal(ours(**INPUTS).logits, theirs(**INPUTS).logits) or torch.allclose(
            ours(**INPUTS).logits, theirs(**INPUTS).logits, atol=1e-6
        )
    assert theirs.generation_config.decoder_start_token_id == ours.config.decoder_start_token_id


@pytest.mark.parametrize("architecture", ENCODER_DECODERS)
def test_base_base_with_examples_and_tuned_are_measured(architecture, tmp_path):
    run = train(load(settings(tmp_path, architecture=architecture, training={"max_steps": 20})))
    told = report(open_model(run.folder.path), metrics=("eval_loss", "exact_match"), shots=2, limit=4, max_new_tokens=4)
    base, shown, tuned = told["rows"]
    assert [row["name"] for row in told["rows"]] == ["base", "base + 2 examples", "tuned"]
    assert base["metrics"]["eval_loss"]["value"] > tuned["metrics"]["eval_loss"]["value"]
    assert shown["metrics"]["eval_loss"]["value"] != base["metrics"]["eval_loss"]["value"]
    assert shown["shots"] in ({"2": 4}, {2: 4}, 2) or "2" in str(shown["shots"])


def test_a_rate_for_t5_and_bart_and_nobody_else(tmp_path):
    from accorda.methods.registry import read
    from accorda.stages.settle import settle_rate

    full, lora = read({"name": "full"}), read({"name": "lora"})
    assert settle_rate(load({}), (full,), 10**8, "t5").training.learning_rate == 1e-4
    assert settle_rate(load({}), (full,), 10**8, "bart").training.learning_rate == 3e-5
    assert settle_rate(load({}), (lora,), 10**8, "mt5").training.learning_rate == 1e-3
    for method, size, kind in ((lora, 10**8, "bart"), (full, 10**8, "pegasus"), (full, 10**6, "t5")):
        with pytest.raises(Refusal, match=f"for (a small )?{kind}; give one with --lr"):
            settle_rate(load({}), (method,), size, kind)


def test_pretraining_is_refused(tmp_path):
    with pytest.raises(Refusal, match="running text has no answer for a decoder to write"):
        train(load(settings(tmp_path, architecture="t5") | {"stage": "pretrain"}))
    assert not (tmp_path / "run").exists()

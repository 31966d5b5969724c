"""Adapters that Hugging Face PEFT wrote, whole and damaged."""

import json
from pathlib import Path

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tests.zoo import edit_json, make, tiny_model_folder

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, trainable
from accorda.methods.open import load_model, load_tokenizer
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.storage import companions, save_adapter
from accorda.methods.vocabulary import add_tokens
from accorda.proofs.foreign import verify_folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_model_folder(tmp_path_factory.mktemp("base"))


def adapter(base, folder, config=None, trained=True):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    config = config or LoraConfig(target_modules=["q_proj", "v_proj"], r=4, task_type="CAUSAL_LM")
    tuned = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(0)
    for parameter in tuned.parameters():
        if parameter.requires_grad and trained:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    tuned.save_pretrained(folder)
    return folder


def verdicts(proofs):
    return {proof.name: proof.verdict for proof in proofs}


def checks(proofs, name):
    proof = next(proof for proof in proofs if proof.name == name)
    return {entry["name"]: (entry["verdict"], entry["reason"]) for entry in proof.evidence["checks"]}


def rewrite(folder, change):
    """Change the tensors of an adapter file."""
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_a_trained_adapter_holds(base, tmp_path):
    found = verify_folder(adapter(base, tmp_path), base)
    assert verdicts(found) == {
        "mask": "holds",
        "coverage": "holds",
        "movement": "holds",
        "save": "holds",
        "packing": "not applicable",
        "resume": "not applicable",
        "merge": "not applicable",
    }
    assert checks(found, "coverage")["targets covered"][1].startswith("all 4 modules")


def test_the_base_is_found_by_the_name_in_the_header(base, tmp_path):
    found = verify_folder(adapter(base, tmp_path))
    assert verdicts(found)["coverage"] == "holds"
    edit_json(tmp_path / "adapter_config.json", base_model_name_or_path="somebody/model-elsewhere")
    found = verify_folder(tmp_path)
    assert verdicts(found)["coverage"] == "not applicable"
    assert "give it with --base" in checks(found, "coverage")["base"][1]


def test_factors_left_at_zero(base, tmp_path):
    found = verify_folder(adapter(base, tmp_path, trained=False), base)
    assert verdicts(found)["movement"] == "fails"
    assert "at 4 of 4 sites a factor is zero throughout" in checks(found, "movement")["factors moved"][1]


def test_one_site_left_at_zero(base, tmp_path):
    adapter(base, tmp_path)
    key = "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight"
    rewrite(tmp_path, lambda tensors: tensors.update({key: torch.zeros_like(tensors[key])}))
    verdict, reason = checks(verify_folder(tmp_path, base), "movement")["factors moved"]
    assert verdict == "fails"
    assert "at 1 of 4 sites" in reason
    assert reason.endswith("model.layers.1.self_attn.v_proj")


def test_ia3_starts_at_one(base, tmp_path):
    config = IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM")
    assert verdicts(verify_folder(adapter(base, tmp_path / "a", config), base))["movement"] == "holds"
    assert verdicts(verify_folder(adapter(base, tmp_path / "b", config, False), base))["movement"] == "fails"


def test_a_site_without_factors(base, tmp_path):
    adapter(base, tmp_path)
    rewrite(tmp_path, lambda tensors: [tensors.pop(key) for key in list(tensors) if "layers.0.self_attn.v" in key])
    verdict, reason = checks(verify_folder(tmp_path, base), "coverage")["targets covered"]
    assert (verdict, reason) == (
        "fails",
        "1 of 4 modules that target_modules selects have none: model.layers.0.self_attn.v_proj",
    )


def test_half_a_pair(base, tmp_path):
    adapter(base, tmp_path)
    rewrite(tmp_path, lambda tensors: tensors.pop("base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight"))
    verdict, reason = checks(verify_folder(tmp_path, base), "coverage")["factors complete"]
    assert verdict == "fails"
    assert "layers.0.self_attn.v_proj" in reason


def test_not_finite_and_empty_tensors(base, tmp_path):
    adapter(base, tmp_path)
    key = "base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight"

    def spoil(tensors):
        tensors[key][0, 0] = float("nan")

    rewrite(tmp_path, spoil)
    assert checks(verify_folder(tmp_path, base), "save")["tensors finite"] == ("fails", f"not finite: {key}")
    rewrite(tmp_path, lambda tensors: tensors.update({key: torch.zeros(0, 32)}))
    found = verify_folder(tmp_path, base)
    assert checks(found, "save")["tensors whole"][0] == "fails"
    assert checks(found, "coverage")["shapes fit"][0] == "fails"


def test_another_base(base, tmp_path):
    wider = tiny_model_folder(tmp_path / "wider", hidden_size=48)
    other = tiny_model_folder(tmp_path / "other", "gpt_neox")
    adapter(base, tmp_path / "adapter")
    verdict, reason = checks(verify_folder(tmp_path / "adapter", wider), "coverage")["shapes fit"]
    assert verdict == "fails"
    assert "A of model.layers.0.self_attn.q_proj is [4, 32], base and rank ask for [4, 48]" in reason
    assert checks(verify_folder(tmp_path / "adapter", other), "coverage")["base has the modules"][0] == "fails"


def test_rank_of_the_header_and_of_a_pattern(base, tmp_path):
    config = LoraConfig(target_modules=["q_proj", "v_proj"], r=4, rank_pattern={"v_proj": 2}, task_type="CAUSAL_LM")
    adapter(base, tmp_path, config)
    assert verdicts(verify_folder(tmp_path, base))["coverage"] == "holds"
    edit_json(tmp_path / "adapter_config.json", r=8)
    assert checks(verify_folder(tmp_path, base), "coverage")["shapes fit"][0] == "fails"


def test_conv1d_and_all_linear(tmp_path):
    base = tmp_path / "gpt2"
    make("gpt2").save_pretrained(base)
    config = LoraConfig(target_modules="all-linear", r=2, task_type="CAUSAL_LM", fan_in_fan_out=True)
    found = verify_folder(adapter(base, tmp_path / "adapter", config), base)
    assert verdicts(found)["coverage"] == "holds"
    assert "all 8 modules" in checks(found, "coverage")["targets covered"][1]
    assert verdicts(found)["mask"] == "not applicable"


def test_saved_modules(base, tmp_path):
    config = LoraConfig(target_modules=["q_proj"], r=2, modules_to_save=["lm_head"], task_type="CAUSAL_LM")
    adapter(base, tmp_path, config)
    assert checks(verify_folder(tmp_path, base), "coverage")["saved modules"][0] == "holds"
    rewrite(tmp_path, lambda tensors: tensors.pop("base_model.model.lm_head.weight"))
    assert checks(verify_folder(tmp_path, base), "coverage")["saved modules"][0] == "fails"


def test_a_torn_file(base, tmp_path):
    path = adapter(base, tmp_path) / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    found = verify_folder(tmp_path, base)
    assert checks(found, "save")["files readable"][0] == "fails"
    assert verdicts(found)["coverage"] == "not applicable"


def test_keys_that_nothing_reads(base, tmp_path):
    adapter(base, tmp_path)
    rewrite(tmp_path, lambda tensors: tensors.update({"base_model.model.lost.weight": torch.ones(2)}))
    assert checks(verify_folder(tmp_path, base), "coverage")["keys known"][0] == "fails"


def test_the_base_that_an_adapter_of_ours_remembers(base, tmp_path):
    from accorda.methods.install import freeze, install
    from accorda.methods.reparametrized.lora import LoRA
    from accorda.methods.storage import save_adapter
    from accorda.models.load import load_model

    save_adapter(install(freeze(load_model(base)), LoRA()), tmp_path / "ours")
    assert checks(verify_folder(tmp_path / "ours", base), "coverage")["fingerprint"][0] == "holds"
    other = tiny_model_folder(tmp_path / "other", seed=1)
    verdict, reason = checks(verify_folder(tmp_path / "ours", other), "coverage")["fingerprint"]
    assert (verdict, reason.startswith("trained on another base: sha256 differ")) == ("fails", True)
    theirs = verify_folder(adapter(base, tmp_path / "theirs"), base)
    assert checks(theirs, "coverage")["fingerprint"][0] == "not applicable"


def test_refusals(base, tmp_path):
    with pytest.raises(Refusal, match="neither a run, an adapter"):
        verify_folder(tmp_path)
    adapter(base, tmp_path)
    with pytest.raises(Refusal, match="no model folder"):
        verify_folder(tmp_path, tmp_path / "nothing")
    (tmp_path / "adapter_config.json").write_text(json.dumps([1]))
    with pytest.raises(Refusal, match="a JSON object is expected, found list"):
        verify_folder(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(Refusal, match="not readable as JSON"):
        verify_folder(tmp_path)


def test_the_base_that_comes_with_the_package_is_found_by_its_name(base, tmp_path, monkeypatch):
    monkeypatch.setattr("accorda.proofs.foreign.folder.model_folder", lambda name: {"bundled": base}[name])
    folder = adapter(base, tmp_path / "adapter")
    edit_json(folder / "adapter_config.json", base_model_name_or_path="bundled")
    assert verdicts(verify_folder(folder))["coverage"] == "holds"
    assert verdicts(verify_folder(folder, Path("bundled")))["coverage"] == "holds"


@pytest.mark.parametrize("spare", [True, False])
def test_accordas_own_format_with_added_tokens_holds(spare, tmp_path):
    folder = tiny_model_folder(tmp_path)
    if not spare:
        make("llama", vocab_size=320).save_pretrained(folder)
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    install(freeze(model), (LoRA(rank=2), add_tokens(model, tokenizer, ["<ticket>"])))
    with torch.no_grad():
        for tensor in trainable(model).values():
            tensor.add_(0.05)
    save_adapter(model, tmp_path / "adapter", beside=companions(tokenizer))
    found = verdicts(verify_folder(tmp_path / "adapter"))
    assert all(found[name] == "holds" for name in ("mask", "coverage", "movement", "save"))
    edit_json(folder / "config.json", vocab_size=500)  # another base
    make("llama", seed=3, vocab_size=500).save_pretrained(folder)
    assert verdicts(verify_folder(tmp_path / "adapter"))["coverage"] == "fails"

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.proofs.made import save, session, train
from tests.zoo import tiny_tokenizer

from accorda.methods.additive.p_tuning import PTuning
from accorda.methods.additive.prefix_tuning import PrefixTuning
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.install import installed, trainable
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.routing import routing
from accorda.methods.selective.bitfit import BitFit
from accorda.methods.selective.full import Full
from accorda.methods.selective.layernorm import LayerNorm
from accorda.methods.side.attention_fusion import AttentionFusion
from accorda.proofs.save import Save

TENSORS = "adapter/adapter_model.safetensors"


def proof_of(made):
    return Save().prove(made, made.folder.path)


def failed(proof):
    return {entry["name"]: entry["reason"] for entry in proof.evidence["checks"] if entry["verdict"] == "fails"}


@pytest.mark.parametrize("architecture", ["llama", "gpt_neox"])
@pytest.mark.parametrize(
    "method",
    [
        LoRA(),
        LoRA(target_modules=("attention.query",)),
        BitFit(),
        LayerNorm(),
        PromptTuning(),
        PrefixTuning(),
        (PTuning(encoder="mlp"), LoRA()),
        AttentionFusion(),
        (LoRA(), LayerNorm()),
    ],
    ids=repr,
)
def test_holds_and_leaves_the_model_alone(tmp_path, method, architecture):
    made = save(train(session(tmp_path, method, architecture), 2, None))
    before = {name: p.clone() for name, p in made.model.state_dict().items()}
    proof = proof_of(made)
    assert proof.verdict == "holds", proof.reason
    after = made.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert trainable(made.model).keys() == made.loop.parameters().keys()
    assert list(installed(made.model)) == ["default"] == list(routing(made.model).route.active)


def test_evidence_lists_files_and_tensors(tmp_path):
    made = save(train(session(tmp_path, LoRA()), 2, None))
    (tmp_path / "recipe.yaml").write_text("stage: sft\n")
    evidence = proof_of(made).evidence
    assert {TENSORS, "adapter/renderer.json", "adapter/tokenizer.json", "recipe.yaml"} <= evidence["files"].keys()
    assert len(evidence["tensors"]) == 28
    assert all(name.startswith(f"{TENSORS}:base_model.model.") for name in evidence["tensors"])


def test_nothing_saved(tmp_path):
    assert "nothing was saved" in proof_of(session(tmp_path, LoRA())).reason


def test_trained_on_after_saving(tmp_path):
    made = save(train(session(tmp_path, LoRA()), 2, None))
    made.loop.step()
    assert set(failed(proof_of(made))) == {"tensors"}


def rewritten(made, change):
    path = made.folder.path / TENSORS
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata)


def one_bit(tensors):
    name = sorted(tensors)[3]
    tensors[name].view(torch.int32)[0, 0] ^= 1


def not_finite(tensors):
    tensors[sorted(tensors)[0]][0, 0] = float("inf")


def half_precision(tensors):
    for name in tensors:
        tensors[name] = tensors[name].half().float()


def left_out(tensors):
    del tensors[sorted(tensors)[0]]


def transposed_names(tensors):
    one, two = (f"base_model.model.model.layers.{n}.self_attn.q_proj.lora_A.weight" for n in (0, 1))
    tensors[one], tensors[two] = tensors[two].clone(), tensors[one].clone()


@pytest.mark.parametrize("change", [one_bit, not_finite, half_precision, left_out, transposed_names])
def test_files_that_are_not_the_live_tensors(tmp_path, change):
    made = save(train(session(tmp_path, LoRA()), 2, None))
    rewritten(made, change)
    assert "tensors" in failed(proof_of(made))


def test_a_torn_file(tmp_path):
    made = save(train(session(tmp_path, LoRA()), 2, None))
    path = tmp_path / TENSORS
    path.write_bytes(path.read_bytes()[:-1])
    assert "readable" in failed(proof_of(made))


def test_another_tokenizer_or_renderer(tmp_path):
    made = save(train(session(tmp_path, LoRA()), 2, None))
    tiny_tokenizer(add_bos=False).save_pretrained(str(tmp_path / "adapter"))
    assert set(failed(proof_of(made))) == {"tokenizer"}
    state = json.loads((tmp_path / "adapter" / "renderer.json").read_text())
    (tmp_path / "adapter" / "renderer.json").write_text(json.dumps(state | {"supervise": "last"}))
    assert set(failed(proof_of(made))) == {"tokenizer", "renderer"}
    (tmp_path / "adapter" / "renderer.json").unlink()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "adapter" / name).unlink()
    assert set(failed(proof_of(made))) == {"tokenizer", "renderer"}


def save_whole(made, **tensors):
    made.model.config.save_pretrained(str(made.folder.model))
    state = {n: t.clone() for n, t in made.model.state_dict().items() if ".originals." not in n}
    save_file(state | tensors, made.folder.model / "model.safetensors")
    made.renderer.save(made.folder.model)
    made.tokenizer.save_pretrained(str(made.folder.model))
    return made


def test_a_whole_model(tmp_path):
    made = save_whole(train(session(tmp_path, Full()), 2, None))
    proof = proof_of(made)
    assert proof.verdict == "holds", proof.reason
    made = save_whole(made, **{"model.norm.weight": torch.ones(32)})
    assert failed(proof_of(made))["tensors"].startswith("read back otherwise: model.norm.weight")


def test_verify_sees_what_changed_since(tmp_path):
    made = save(train(session(tmp_path, LoRA()), 2, None))
    stored = proof_of(made)
    assert Save().verify(made, tmp_path, stored).verdict == "holds"
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(config.read_text() + "\n")
    again = Save().verify(made, tmp_path, stored)
    assert (again.verdict, again.evidence["changed"]) == ("fails", ["adapter/adapter_config.json"])

import json

import pytest
import torch
from tests.proofs.made import save_checkpoint, session, train

from accorda.methods.additive.p_tuning import PTuning
from accorda.methods.additive.prefix_tuning import PrefixTuning
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.install import kept_tensors, own_tensors
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.selective.bitfit import BitFit
from accorda.methods.selective.full import Full
from accorda.methods.side.attention_fusion import AttentionFusion
from accorda.proofs.contract import Proof
from accorda.proofs.movement import Movement, Watch


def proof_of(made):
    return Movement().prove(made, made.folder.path)


def failed(proof):
    return {entry["name"]: entry["reason"] for entry in proof.evidence["checks"] if entry["verdict"] == "fails"}


@pytest.mark.parametrize(
    "method", [LoRA(), Full(), BitFit(), PromptTuning(), PTuning(), PrefixTuning(), AttentionFusion()], ids=repr
)
def test_trained_runs_hold(tmp_path, method):
    made = train(session(tmp_path, method))
    proof = proof_of(made)
    assert proof.verdict == "holds", proof.reason
    assert set(proof.evidence["first_gradient"].values()) <= {1, 2}
    assert proof.evidence["trained"].keys() == made.loop.parameters().keys()
    assert not proof.evidence["trained"].keys() & proof.evidence["frozen"].keys()


def test_verified_where_what_was_for_training_only_is_gone(tmp_path):
    made = train(session(tmp_path, PTuning()))
    stored, again = proof_of(made), session(tmp_path, PTuning().kept())
    with torch.no_grad():
        for name, tensor in own_tensors(again.model, "default").items():
            tensor.copy_(kept_tensors(made.model, "default")[name])
    proof = Movement().verify(again, tmp_path, stored)
    assert proof.verdict == "holds", proof.reason
    with torch.no_grad():
        own_tensors(again.model, "default")["0_prompt.prompt_embeddings"][0, 0] += 1e-6
    assert "prompt_embeddings" in failed(Movement().verify(again, tmp_path, stored))["trained tensors"]


def test_shift_of_keys_rests_as_declared(tmp_path):
    made = train(session(tmp_path, BitFit(), "gpt2"))
    proof = proof_of(made)
    assert proof.verdict == "holds", proof.reason


def test_one_step_leaves_the_factor_behind_a_zero_where_it_was(tmp_path):
    made = train(session(tmp_path, LoRA()), 1, None)
    proof = proof_of(made)
    assert proof.verdict == "holds", proof.reason
    factors = sum("lora_A" in name for name in made.loop.parameters())
    assert f", {factors} had no turn yet," in proof.reason
    assert all("lora_A" in name for name in proof.evidence["at_rest"])


def test_one_step_excuses_no_module_without_any_gradient(tmp_path):
    made = session(tmp_path, LoRA())
    for name, parameter in made.loop.parameters().items():
        if "layers.0.self_attn.q_proj" in name:
            parameter.register_hook(torch.zeros_like)
    train(made, 1, None)
    assert "layers.0.self_attn.q_proj" in failed(proof_of(made))["moved"]


def test_a_frozen_tensor_that_changed(tmp_path):
    made = train(session(tmp_path, LoRA()))
    made.model.get_parameter("model.norm.weight").data[0] += 1e-7
    assert failed(proof_of(made)) == {"untouched": "frozen, and changed: model.norm.weight"}


def test_a_frozen_tensor_that_an_optimizer_moves_in_secret(tmp_path):
    made = session(tmp_path, LoRA())
    secret = made.model.get_parameter("model.layers.0.mlp.up_proj.weight")
    train(made, 1, None)
    secret.data.mul_(0.999)
    assert "untouched" in failed(proof_of(made))


def test_a_tensor_outside_the_graph(tmp_path):
    made = session(tmp_path, LoRA())
    cut = made.model.get_submodule("model.layers.1.self_attn.v_proj")
    hooks = list(cut._forward_hooks)
    for hook in hooks:
        del cut._forward_hooks[hook]
    why = failed(proof_of(train(made)))["moved"]
    assert why.startswith("no finite gradient other than zero in any step")
    assert "layers.1.self_attn.v_proj" in why


def test_weight_decay_alone_is_no_movement(tmp_path):
    made = session(tmp_path, Full())
    made.loop.objective = lambda model, batch: made.objective(model, batch) * 0
    for group in made.loop.optimizer.param_groups:
        group["weight_decay"] = 0.1
    assert failed(proof_of(train(made)))["moved"].startswith("no finite gradient other than zero in any step")


def test_gradients_without_a_step(tmp_path):
    made = session(tmp_path, Full())
    made.loop.schedule = lambda step: 0.0
    assert failed(proof_of(train(made)))["moved"].startswith("a gradient, but the same value as before")


def test_declared_rest_is_named_and_no_fault(tmp_path, monkeypatch):
    reason = "never routed in these steps"
    target = "model.layers.1.self_attn.v_proj"
    monkeypatch.setattr(LoRA, "resting", lambda self, site, model: reason if site.name == target else None)
    made = session(tmp_path, LoRA())
    module = made.model.get_submodule(target)
    for hook in list(module._forward_hooks):
        del module._forward_hooks[hook]
    proof = proof_of(train(made))
    assert proof.verdict == "holds"
    assert set(proof.evidence["at_rest"].values()) == {reason}
    assert len(proof.evidence["at_rest"]) == 2


def test_no_step(tmp_path):
    assert proof_of(session(tmp_path, LoRA())).verdict == "not applicable"


def test_a_resumed_run_knows_its_start(tmp_path):
    first = train(session(tmp_path, LoRA()), steps=2, checkpoint_at=2)
    second = session(tmp_path, LoRA())
    second.loop.load_state(first.loop.state())
    second.model.get_parameter("model.norm.weight").data[0] += 1
    proof = proof_of(train(second, 1, None))
    assert failed(proof) == {"untouched": "frozen, and changed: model.norm.weight"}
    record = json.loads((tmp_path / "checkpoints" / "movement.json").read_text())
    assert len(record["first_gradient"]) == 28


def test_verify_compares_with_the_stored_checksums(tmp_path):
    made = train(session(tmp_path, LoRA()))
    stored = proof_of(made)
    again = Movement().verify(made, tmp_path, stored)
    assert again.verdict == "holds", again.reason
    next(iter(made.loop.parameters().values())).data[0, 0] += 1
    assert list(failed(Movement().verify(made, tmp_path, stored))) == ["trained tensors"]
    made.model.get_parameter("model.norm.weight").data[0] += 1
    assert list(failed(Movement().verify(made, tmp_path, stored))) == ["trained tensors", "frozen tensors"]
    assert Movement().verify(made, tmp_path, None).verdict == "not applicable"
    bad = Proof("movement", "fails", "it said so", stored.evidence)
    assert failed(Movement().verify(made, tmp_path, bad))["as the run told"] == "it said so"


def test_verify_of_a_whole_model_leaves_out_what_its_folder_does_not_hold(tmp_path):
    made = train(session(tmp_path, Full()))
    stored = proof_of(made)
    kept = [name for name in made.model.state_dict() if ".originals." in name]
    made.model.state_dict(keep_vars=True)[kept[0]].data += 1  # as a session has it that was opened from model/
    assert list(failed(Movement().verify(made, tmp_path, stored))) == ["frozen tensors"]
    (tmp_path / "model").mkdir()
    assert Movement().verify(made, tmp_path, stored).verdict == "holds"


def test_watching_draws_no_number_and_changes_no_step(tmp_path):
    watched, plain = session(tmp_path / "a", LoRA()), session(tmp_path / "b", LoRA())
    plain.loop.observers = ()
    assert any(isinstance(observer.inner, Watch) for observer in watched.loop.observers)
    for _ in range(3):
        ours, theirs = watched.loop.step(), plain.loop.step()
        assert ours["loss"] == theirs["loss"]
        save_checkpoint(watched)

import pytest
import torch
from tests.proofs.made import session
from torch import nn

from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.host import hosting_of, unhang
from accorda.methods.install import remove
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.selective.bitfit import BitFit
from accorda.methods.selective.full import Full
from accorda.methods.selective.layernorm import LayerNorm
from accorda.methods.side.attention_fusion import AttentionFusion
from accorda.proofs.coverage import Coverage, hosted

PAPER = LoRA(target_modules=("attention.query", "attention.value"), rank=2)
FUSED = ("gpt2", "phi3", "gpt_neox", "falcon_new", "falcon_multi_query", "falcon_alibi")


def failed(proof):
    return [entry["name"] for entry in proof.evidence["checks"] if entry["verdict"] == "fails"]


def proof_of(made):
    return Coverage().prove(made, made.folder.path)


def unhost(model, path):
    """Take the adapter off one module, as if installing had skipped it."""
    module = model.get_submodule(path)
    unhang(module, "default")


@pytest.mark.parametrize(
    "method",
    [
        LoRA(),
        PAPER,
        LoRA(target_modules=("q_proj", "down_proj")),
        Full(),
        BitFit(),
        LayerNorm(),
        PromptTuning(),
        AttentionFusion(),
        (LoRA(), LayerNorm()),
        (PAPER, PromptTuning()),
    ],
    ids=repr,
)
def test_every_method_holds(tmp_path, method):
    made = session(tmp_path, method)
    proof = proof_of(made)
    assert proof.verdict == "holds", proof.reason
    assert proof.evidence["trainable"] == sum(p.numel() for p in made.loop.parameters().values())


@pytest.mark.parametrize("method", [LoRA(), PAPER, LoRA(target_modules="mlp")], ids=repr)
@pytest.mark.parametrize("architecture", FUSED)
def test_fused_projections_hold(tmp_path, architecture, method):
    proof = proof_of(session(tmp_path, method, architecture))
    assert proof.verdict == "holds", proof.reason


def test_quantized_base_holds(tmp_path):
    assert proof_of(session(tmp_path, LoRA(), quantization="int8")).verdict == "holds"
    assert proof_of(session(tmp_path, PAPER, "gpt_neox", quantization="int8")).verdict == "holds"


@pytest.mark.parametrize("method", [LoRA(), PAPER, LoRA(target_modules=("q_proj",))], ids=repr)
def test_a_skipped_site(tmp_path, method):
    made = session(tmp_path, method)
    unhost(made.model, "model.layers.1.self_attn.q_proj")
    proof = proof_of(made)
    assert "targets" in failed(proof)
    assert "self_attn.q_proj" in str(proof.evidence)


def test_a_base_that_is_not_frozen(tmp_path):
    made = session(tmp_path, LoRA())
    made.model.get_parameter("model.layers.0.mlp.up_proj.weight").requires_grad_(True)
    assert failed(proof_of(made)) == ["count", "only intended", "optimizer"]


def test_an_optimizer_that_lacks_a_tensor(tmp_path):
    made = session(tmp_path, LoRA())
    group = made.loop.optimizer.param_groups[0]
    group["params"].pop()
    group["names"].pop()
    assert failed(proof_of(made)) == ["optimizer"]


def test_nothing_installed(tmp_path):
    made = session(tmp_path, LoRA())
    remove(made.model, "default")
    assert "targets" in failed(proof_of(made))


def test_a_block_that_was_not_found(tmp_path):
    made = session(tmp_path, LoRA())
    made.model.config.num_hidden_layers = 3
    assert failed(proof_of(made)) == ["blocks"]


@pytest.mark.parametrize("architecture", FUSED)
@pytest.mark.parametrize("role", ["attention.query", "attention.key", "attention.value"])
def test_fused_rows_shifted_by_one(tmp_path, monkeypatch, architecture, role):
    """The roles themselves are wrong, so that every part of the package agrees on the wrong rows."""
    import accorda.models.roles.resolver as resolver

    layout = resolver._exceptions

    class Shifted:
        def __init__(self, file):
            self.file = file
            self.NAMES = getattr(file, "NAMES", {})

        def fused(self, config, kind, num_rows):
            parts = self.file.fused(config, kind, num_rows)
            return {name: (rows + 1) % num_rows for name, rows in parts.items()}

    monkeypatch.setattr(resolver, "_exceptions", lambda kind: Shifted(layout(kind)))
    made = session(tmp_path, LoRA(target_modules=(role,)), architecture)
    assert failed(proof_of(made)) == ["fused rows"]


def test_fused_rows_that_are_left_out(tmp_path, monkeypatch):
    from accorda.models.roles import gpt_neox

    layout = gpt_neox.fused

    def shortened(config, kind, num_rows):
        return {name: rows[:-1] if "key" in name else rows for name, rows in layout(config, kind, num_rows).items()}

    monkeypatch.setattr(gpt_neox, "fused", shortened)
    proof = proof_of(session(tmp_path, LoRA(target_modules=("attention.query",)), "gpt_neox"))
    told = next(entry["reason"] for entry in proof.evidence["checks"] if entry["name"] == "fused rows")
    assert "attention.key of gpt_neox.layers.0.attention.query_key_value leaves channels of its key" in told
    assert "are not all of it" in told


@pytest.mark.parametrize("role", ["mlp.gate", "mlp.up"])
def test_gate_and_up_exchanged(tmp_path, monkeypatch, role):
    from accorda.models.roles import phi3

    layout = phi3.fused

    def exchanged(config, kind, num_rows):
        parts = layout(config, kind, num_rows)
        return {"mlp.gate": parts["mlp.up"], "mlp.up": parts["mlp.gate"]} if kind == "mlp.gate_up" else parts

    monkeypatch.setattr(phi3, "fused", exchanged)
    assert failed(proof_of(session(tmp_path, LoRA(target_modules=(role,)), "phi3"))) == ["fused rows"]


def test_an_adapter_on_rows_that_are_no_part(tmp_path):
    made = session(tmp_path, PAPER, "gpt_neox")
    name, (rows, *_) = next(iter(hosted(made.model).items()))
    hosting = hosting_of(made.model.get_submodule(name))
    assert hosting is not None
    assert rows is not None
    hosting.placed["default"][0].base.rows = torch.roll(rows, 1) + 1
    assert failed(proof_of(made)) == ["fused rows"]


def test_the_probe_changes_nothing(tmp_path):
    made = session(tmp_path, PAPER, "gpt_neox", dtype=torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    hooks = sum(len(module._forward_hooks) for module in made.model.modules())
    assert proof_of(made).verdict == "holds"
    assert sum(len(module._forward_hooks) for module in made.model.modules()) == hooks
    after = made.model.state_dict()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)
    assert isinstance(made.model, nn.Module)

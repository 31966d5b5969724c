"""AdaLoRA against its formulas written out, and PEFT's allocation step by step."""

import pytest
import torch
from peft import AdaLoraConfig, get_peft_model
from tests.methods.cases import Case, loss_of
from tests.methods.reparametrized.test_lora import filled
from tests.zoo import batch, make
from transformers import GPT2Config, GPT2LMHeadModel

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, own_tensors, resting, trainable
from accorda.methods.reparametrized.adalora import AdaLoRA
from accorda.methods.stepping import extra_loss, on_step

UP = "model.layers.1.mlp.up_proj"


def test_output_is_the_formula():
    model = filled(install(freeze(make("llama")), AdaLoRA(initial_rank=9, alpha=6.0, target_modules="up_proj")))
    linear, own = model.get_submodule(UP), own_tensors(model, "default")
    P, Lambda, Q = (own[f"{UP}.0_all.{leaf}"] for leaf in ("P", "Lambda", "Q"))
    x, triplets = torch.randn(4, 32), range(9)
    change = sum(Lambda[i] * torch.outer(P[:, i], Q[i]) for i in triplets) * 6.0 / (9 + 1e-5)
    torch.testing.assert_close(linear(x), x @ (linear.weight + change).T)


def test_the_extra_loss_is_the_mean_distance_from_orthogonal():
    model = filled(install(freeze(make("llama")), AdaLoRA(orthogonality=0.3, target_modules=("q_proj", "up_proj"))))
    own = own_tensors(model, "default")
    expected = 0.0
    for name, tensor in own.items():
        if not name.endswith("Lambda"):
            product = tensor.T @ tensor if name.endswith("P") else tensor @ tensor.T
            expected += 0.3 * (product - torch.eye(12)).square().sum() / 4  # layers
    torch.testing.assert_close(extra_loss(model)(), expected)


def test_the_budget_falls_with_the_cube_between_its_shares():
    method = AdaLoRA(rank=4, initial_rank=6, initial_share=0.2, final_share=0.3)
    budgets = [method.budget(10, step, 100) for step in (1, 20, 45, 69, 70, 100)]
    assert budgets == [60, 60, int(40 + 20 * 0.5**3), 40, 40, 40]


def test_allocates_what_peft_allocates():
    """The same gradients, ten steps: the same Lambda, zeros included, and the same output."""
    steps, names = 10, ["q_proj", "v_proj", "up_proj"]
    settings = {"target_modules": names, "init_r": 6, "target_r": 2, "tinit": 2, "tfinal": 3, "lora_alpha": 8}
    theirs = get_peft_model(make("llama"), AdaLoraConfig(**settings, total_step=steps))
    method = AdaLoRA(
        rank=2, initial_rank=6, alpha=8.0, initial_share=0.2, final_share=0.3, every=1, target_modules=tuple(names)
    )
    ours = install(freeze(make("llama")), method)
    modules, own = dict(theirs.base_model.model.named_modules()), own_tensors(ours, "default")
    pairs = []
    with torch.no_grad():
        for name, tensor in own.items():
            path, leaf = name.split(".0_all.")
            pairs.append(
                (tensor, getattr(modules[path], {"P": "lora_B", "Lambda": "lora_E", "Q": "lora_A"}[leaf])["default"])
            )
            tensor.copy_(pairs[-1][1].reshape(tensor.shape))
    call, case = on_step(ours, steps), Case("adalora", "llama")
    optimizers = [torch.optim.AdamW(model, lr=0.02) for model in (list(trainable(ours).values()), theirs.parameters())]
    kept = []
    for step in range(1, steps + 1):
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            loss_of(model, case.inputs()).backward()
            optimizer.step()
        call(step)
        theirs.base_model.update_and_allocate(step)
        for optimizer in optimizers:
            optimizer.zero_grad()
        kept.append(sum(int(tensor.count_nonzero()) for name, tensor in own.items() if name.endswith("Lambda")))
        for tensor, other in pairs:
            torch.testing.assert_close(tensor, other.reshape(tensor.shape), atol=1e-5, rtol=1e-4)
    assert kept[:2] == [36, 36]
    assert kept[-4:] == [12] * 4
    assert kept == sorted(kept, reverse=True)
    torch.testing.assert_close(ours(**batch("llama")).logits, theirs(**batch("llama")).logits, atol=1e-5, rtol=1e-4)


def test_a_zeroed_triplet_trains_and_comes_back():
    model = install(freeze(make("llama")), AdaLoRA(rank=1, initial_rank=2, every=1, initial_share=0.0, final_share=0.1))
    own, call, case = own_tensors(model, "default"), on_step(model, 400), Case("adalora", "llama")
    optimizer = torch.optim.SGD(trainable(model).values(), lr=0.5)
    seen = torch.zeros(0)
    for step in range(180, 200):
        loss_of(model, case.inputs()).backward()
        optimizer.step()
        call(step)
        optimizer.zero_grad()
        now = torch.cat([tensor.detach() for name, tensor in own.items() if name.endswith("Lambda")]) != 0
        seen = torch.cat([seen, now[None]])
    dropped_then_back = (seen[:-1] == 0) & (seen[1:] == 1)
    assert dropped_then_back.any()


def test_only_lambda_may_end_where_it_began():
    model = install(make("llama"), AdaLoRA(target_modules="q_proj"))
    assert {name.rpartition(".")[2] for name in resting(model)} == {"Lambda"}


def test_count():
    """GPT-2 medium, query and value, twelve triplets: r (in + out) + r per matrix."""
    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config(n_embd=1024, n_layer=24, n_head=16))
    method = AdaLoRA(target_modules=("attention.query", "attention.value"))
    assert method.num_parameters(model).trained == 24 * 2 * (12 * 2048 + 12)


def test_refusals():
    with pytest.raises(Refusal, match=r"adalora acts on linear layers, and .*input_layernorm"):
        install(make("llama"), AdaLoRA(target_modules="norm"))
    with pytest.raises(ValueError, match="rank = 16: above initial_rank = 12; raise"):
        AdaLoRA(rank=16)
    with pytest.raises(ValueError, match=r"leaves no step .*; lower one"):
        AdaLoRA(initial_share=0.5, final_share=0.5)

"""Perturb one role and watch which of query, key and value reaches the attention kernel, on the real class."""

import pytest
import torch
from tests.zoo import DECODERS, FALCONS, make

from accorda.models.roles import Site, sites

FUSED = ("gpt2", "phi3", "gpt_neox", *FALCONS)
PARTS = ("query", "key", "value")


def first_block(model) -> dict[str, Site]:
    return {site.role: site for site in sites(model) if site.block == 0 and not site.role.startswith("norm")}


def reaching_attention(model, monkeypatch, perturbed: Site | None = None) -> dict[str, torch.Tensor]:
    """What the first attention kernel call receives when 1 is added to the outputs of one site."""
    seen: dict[str, torch.Tensor] = {}
    kernel = torch.nn.functional.scaled_dot_product_attention

    def spy(query, key, value, *args, **kwargs):
        for part, tensor in zip(PARTS, (query, key, value), strict=True):
            seen.setdefault(part, tensor.clone())
        return kernel(query, key, value, *args, **kwargs)

    def add_one(module, inputs, output):
        rows = torch.arange(output.shape[-1]) if perturbed.rows is None else perturbed.rows
        return output.index_add(-1, rows, torch.ones(*output.shape[:-1], len(rows)))

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    hook = perturbed.module.register_forward_hook(add_one) if perturbed else None
    with torch.no_grad():
        model(input_ids=torch.tensor([[5, 11, 7]]))
    if hook:
        hook.remove()
    monkeypatch.undo()
    return seen


@pytest.mark.parametrize("name", [name for name in DECODERS if name != "gemma2"])  # it has no sdpa; leaves as gemma
def test_each_part_reaches_its_own_argument_alone(name, monkeypatch):
    model = make(name)
    model.set_attn_implementation("sdpa")
    roles = first_block(model)
    before = reaching_attention(model, monkeypatch)
    for part in PARTS:
        after = reaching_attention(model, monkeypatch, roles[f"attention.{part}"])
        assert [p for p in PARTS if not torch.equal(before[p], after[p])] == [part]


@pytest.mark.parametrize("name", FUSED)
def test_parts_are_a_partition_of_the_fused_output(name):
    for fused in (site for site in sites(make(name, meta=True)) if site.role.endswith((".qkv", ".gate_up"))):
        parts = [s for s in sites(make(name, meta=True)) if s.name == fused.name and s.rows is not None]
        assert all(len(part.rows) == part.out_features for part in parts)
        rows = torch.cat([part.rows for part in parts])
        assert sorted(rows.tolist()) == list(range(fused.out_features))


def test_phi3_gate_and_up_are_the_halves_the_block_multiplies():
    model = make("phi3")
    roles = first_block(model)
    fused, down = roles["mlp.gate_up"].module, roles["mlp.down"].module
    seen = {}
    fused.register_forward_hook(lambda module, inputs, output: seen.setdefault("fused", output))
    down.register_forward_pre_hook(lambda module, inputs: seen.setdefault("down", inputs[0]))
    with torch.no_grad():
        model(input_ids=torch.tensor([[5, 11, 7]]))
    gate, up = (seen["fused"][..., roles[role].rows] for role in ("mlp.gate", "mlp.up"))
    torch.testing.assert_close(seen["down"], torch.nn.functional.silu(gate) * up)

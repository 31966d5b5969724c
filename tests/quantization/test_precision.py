"""On a base in a number format everything but the blocks' linears keeps its precision, and the adapter alone trains."""

import pytest
import torch
from tests.methods.cases import loss_of
from tests.zoo import ARCHITECTURES, batch, make

from accorda.methods.install import freeze, install, own_tensors, trainable
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.targets import base_parameters
from accorda.models.roles import find, is_linear, sites
from accorda.quantization import QuantizedLinear, formats, quantize_model

NORM, EMBEDDING, HEAD = torch.float32, torch.float16, torch.bfloat16


def in_three_precisions(name):
    """Norms, input embeddings and the rest each in a precision of its own; a tied head has the embeddings'."""
    model = make(name).to(HEAD)
    model.get_input_embeddings().to(EMBEDDING)
    for site in sites(model):
        if site.role.startswith("norm"):
            site.module.to(NORM)
    return model


def bits(model):
    return {name: parameter.detach().clone() for name, parameter in base_parameters(model).items()}


def changed(before, after):
    """Names of tensors that are gone, new, or different in dtype or a bit."""
    same = {n for n in before.keys() & after.keys() if before[n].dtype == after[n].dtype}
    return sorted((before.keys() | after.keys()) - {n for n in same if torch.equal(before[n], after[n])})


@pytest.mark.parametrize("format_name", formats())
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_norms_embeddings_and_head_keep_their_precision(name, format_name):
    dense = in_three_precisions(name)
    before, model = bits(dense), quantize_model(in_three_precisions(name), format_name)
    packed = {site.name for site in find(model, "all-linear")}
    assert packed
    assert {n for n, m in model.named_modules() if isinstance(m, QuantizedLinear)} == packed
    outside = {n: p for n, p in before.items() if n.rpartition(".")[0] not in packed or n.endswith(".bias")}
    kept = {n: p for n, p in bits(model).items() if n.rpartition(".")[0] not in packed or n.endswith(".bias")}
    assert changed(outside, kept) == []
    roles = {site.role.partition(".")[0]: site for site in sites(model) if site.name not in packed}
    assert roles["norm"].module.weight.dtype == NORM
    assert roles["embedding"].module.weight.dtype == EMBEDDING
    tied = dense.get_output_embeddings().weight is dense.get_input_embeddings().weight
    assert roles["head"].module.weight.dtype == (EMBEDDING if tied else HEAD)
    assert is_linear(roles["head"].module)
    assert not isinstance(roles["head"].module, QuantizedLinear)


@pytest.mark.parametrize("format_name", formats())
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_only_the_adapter_trains(name, format_name):
    model = install(freeze(quantize_model(in_three_precisions(name), format_name)), LoRA(rank=2, alpha=4)).train()
    own = own_tensors(model, "default")
    assert {id(tensor) for tensor in trainable(model).values()} == {id(tensor) for tensor in own.values()}
    assert {tensor.dtype for tensor in own.values()} == {torch.float32}
    before, start = bits(model), {n: tensor.detach().clone() for n, tensor in own.items()}
    optimizer = torch.optim.SGD(list(trainable(model).values()), lr=0.5)
    for _ in range(2):  # lora_A moves once lora_B has
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, batch(name))
        loss.backward()
        optimizer.step()
    assert changed(before, bits(model)) == []
    assert changed(start, own_tensors(model, "default")) == sorted(own)

"""Rows against training with every other row's gradient zeroed, against PEFT on an embedding, counts, refusals."""

import copy

import pytest
import torch
from peft import TrainableTokensConfig, get_peft_model
from tests.methods.cases import base_of, loss_of
from tests.zoo import batch, make
from transformers import LlamaConfig, LlamaForCausalLM

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, own_tensors, trainable
from accorda.methods.merging import merge
from accorda.methods.prepare import prepare
from accorda.methods.selective.rows import Rows
from accorda.models.roles import find

MLP = ("mlp.up", "mlp.down")


def weight_of(site):
    """(O, I) of the site, a view into its module's weight."""
    weight = site.module.weight
    weight = weight.T if type(site.module).__name__ == "Conv1D" else weight
    return weight if site.rows is None else weight[site.rows]


def stepped(model, inputs, mask=lambda: None):
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=0.01, weight_decay=0, eps=1e-4)
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(model, inputs).backward()
        mask()
        optimizer.step()
    return model


@pytest.mark.parametrize(
    ("architecture", "targets", "index"),
    [("llama", MLP, (1, 5)), ("gpt2", MLP, (31, 0)), ("gpt2", "attention.value", (2,)), ("bert", "embedding", (9, 4))],
)
def test_takes_the_steps_of_a_gradient_that_is_zero_elsewhere(architecture, targets, index):
    inputs, naive = batch(architecture), freeze(make(architecture))
    tuned = install(freeze(make(architecture)), Rows(target_modules=targets, choose="index", index=index))
    places = find(naive, targets)
    for site in places:
        site.module.weight.requires_grad_(True)

    def zero_elsewhere():
        for site in places:
            gradient = site.module.weight.grad
            gradient = gradient.T if type(site.module).__name__ == "Conv1D" else gradient
            rows = torch.tensor(index) if site.rows is None else site.rows[list(index)]
            kept = gradient[rows].clone()
            gradient.zero_()
            gradient[rows] = kept

    stepped(naive, inputs, zero_elsewhere)
    stepped(tuned, inputs)
    torch.testing.assert_close(tuned(**inputs).logits, naive(**inputs).logits, atol=1e-5, rtol=1e-5)
    merged = merge(tuned)
    for name, parameter in naive.named_parameters():
        torch.testing.assert_close(merged.get_parameter(name).data, parameter.data, atol=1e-5, rtol=1e-5)


def test_trains_tokens_as_peft_does():
    inputs, index = batch("llama"), (7, 11, 60)
    ours = install(freeze(make("llama")), Rows(choose="index", index=index))
    theirs = get_peft_model(
        make("llama"), TrainableTokensConfig(token_indices=list(index), target_modules=["embed_tokens"])
    )
    assert sum(p.numel() for p in trainable(ours).values()) == sum(p.numel() for p in trainable(theirs).values())
    for model in (ours, theirs):
        stepped(model, inputs)
    torch.testing.assert_close(ours(**inputs).logits, theirs(**inputs).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("choose", "last"), [("largest", True), ("smallest", False)])
def test_chooses_by_norm(choose, last):
    model = make("gpt2")
    method = Rows(target_modules=("mlp.up", "attention.key"), choose=choose, num_rows=3)
    entries = method.chosen(model)
    for site in find(model, method.target_modules):
        norms = [float(row.norm()) for row in weight_of(site).detach()]
        best = sorted(range(len(norms)), key=lambda row: norms[row], reverse=last)[:3]
        numbers = torch.arange(site.module.weight.numel()).view(site.module.weight.shape).T
        numbers = numbers if site.rows is None else numbers[site.rows]
        expected = {int(number) for row in best for number in numbers[row]}
        assert set(entries[f"{site.name}.weight"].tolist()) == expected


def test_chooses_by_fisher():
    """The rows whose squared gradients, one data row at a time, have the largest sum."""
    model = freeze(make("llama"))
    batches = [batch("llama", rows=1, seed=seed) for seed in range(4)]
    batches = [each | {"labels": each["input_ids"]} for each in batches]
    method = Rows(target_modules="mlp.down", choose="fisher", num_rows=2, num_batches=3)
    prepared = prepare(model, method, batches)
    for name, rows in prepared.found:
        weight = model.get_submodule(name).weight.requires_grad_(True)
        squares = [torch.autograd.grad(model(**each).loss, weight)[0].square() for each in batches[:3]]
        assert set(rows) == set((sum(squares) / 3).sum(1).topk(2).indices.tolist())
    assert prepare(model, prepared, []) is prepared
    install(freeze(model), prepared)
    assert sum(p.numel() for p in trainable(model).values()) == 2 * 2 * 48


@pytest.mark.parametrize("architecture", ["llama", "bert", "t5"])
def test_chooses_tokens_that_occur_most(architecture):
    """Of all that the model reads; of tokens alike the lower; negative ids, which hold a place, are no tokens."""
    model = freeze(make(architecture))
    batches = [{"input_ids": torch.tensor([[9, 5, 5, -1]])}, {"input_ids": torch.tensor([[7, 9, 5, 4, 4, 4, 4]])}]
    if architecture == "t5":
        batches[1]["decoder_input_ids"] = torch.tensor([[0, 8, 8, 8, 8, 8]])
    most = (4, 8) if architecture == "t5" else (4, 5)
    assert [rows for _, rows in prepare(model, Rows(num_rows=2), batches).found] == [tuple(sorted(most))]
    alike = prepare(model, Rows(num_rows=2, num_batches=1), batches)
    assert [rows for _, rows in alike.found] == [(5, 9)]
    assert [rows for _, rows in prepare(model, Rows(num_rows=4, num_batches=1), batches).found] == [(0, 1, 5, 9)]
    install(model, alike)
    assert sum(p.numel() for p in trainable(model).values()) == 2 * 32


def test_occurring_is_of_tokens_and_needs_some():
    with pytest.raises(Refusal, match=r"mlp\.up_proj \(mlp\.up\) has no row for each token"):
        prepare(make("llama"), Rows(target_modules="mlp.up"), [batch("llama")])
    with pytest.raises(Refusal, match="no batch to count tokens in"):
        prepare(make("llama"), Rows(), [])


def test_count_from_shapes_alone():
    """64 tokens of Llama-2 7B: 64 * 4096; four rows of every linear of a block: 4 (6 * 4096 + 11008)."""
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=2))
    assert Rows().num_parameters(model).trained == 64 * 4096
    everywhere = Rows(target_modules="all-linear", num_rows=4)
    assert everywhere.num_parameters(model).trained == 2 * 4 * (6 * 4096 + 11008)
    assert Rows(choose="fisher", num_rows=4).num_parameters(model).trained == 4 * 4096


def test_a_tied_head_is_the_embedding():
    tied = Rows(target_modules=("embedding", "head"), choose="index", index=(3,))
    assert tied.num_parameters(make("gpt2")).trained == 32
    assert tied.num_parameters(make("llama")).trained == 64
    model = install(freeze(make("gpt2")), tied)
    with torch.no_grad():
        next(iter(trainable(model).values())).fill_(1.0)
    changed = torch.ones(67, dtype=torch.bool)
    changed[3] = False
    inputs = {"input_ids": torch.tensor([[5, 6]])}
    before, after = make("gpt2")(**inputs).logits, model(**inputs).logits
    assert torch.equal(before[..., changed], after[..., changed])
    assert not torch.allclose(before[..., 3], after[..., 3])


def test_embedding_trains_on_a_base_in_a_number_format_and_its_linears_are_refused():
    model = install(freeze(copy.deepcopy(base_of("llama", "int8"))), Rows(choose="index", index=(3,)), "probe")
    assert sum(tensor.numel() for tensor in trainable(model).values()) == 32
    assert own_tensors(model, "probe")["0_model/embed_tokens/weight.values"].dtype == torch.float32
    with pytest.raises(Refusal, match=r"model\.layers\.0\.mlp\.up_proj is held in a number format"):
        install(make_int8(), Rows(target_modules="mlp.up"))


def make_int8():
    import copy

    from accorda.quantization import quantize_model

    return quantize_model(copy.deepcopy(make("llama")), "int8")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"choose": "index", "index": (3, 67)}, r"method\.index: 67: model\.embed_tokens \(embedding\) has 67 rows"),
        (
            {"choose": "largest", "num_rows": 68},
            r"method\.num_rows = 68: model\.embed_tokens \(embedding\) has 67 rows",
        ),
        ({"target_modules": "norm"}, r"model\.layers\.0\.\w+norm \(norm\) is none"),
        ({"target_modules": "no_such"}, "matches nothing"),
        ({"choose": "fisher"}, r"method\.choose = fisher: call accorda\.prepare"),
        ({}, r"method\.choose = occurring: call accorda\.prepare"),
    ],
)
def test_refuses(settings, says):
    with pytest.raises(Refusal, match=says):
        install(make("llama"), Rows(**settings))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"choose": "index"}, r"choose = index: say which rows, as index: \[5, 7\]"),
        ({"index": (1,)}, r"index = \[1\]: choose: occurring finds the rows; say choose: index"),
        ({"choose": "index", "index": (4, 2, 4)}, "index = 4: this row is there twice; name it once"),
        ({"choose": "index", "index": (4,), "num_rows": 8}, "num_rows = 8: choose: index trains the rows in index"),
        ({"choose": "index", "index": (4,), "num_batches": 8}, "num_batches = 8: choose: index reads no data"),
        ({"choose": "largest", "num_batches": 8}, "num_batches = 8: choose: largest reads no data"),
    ],
    ids=str,
)
def test_refuses_settings_that_contradict(settings, says):
    with pytest.raises(ValueError, match=says):
        Rows(**settings)

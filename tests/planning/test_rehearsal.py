"""What a hollow model's tensors come to is what a real one's do, whatever the method, architecture and precision."""

import pytest
import torch
from tests.methods.cases import prepared
from tests.zoo import DECODERS, make

from accorda.methods.checkpointing import enable_checkpointing
from accorda.methods.install import freeze, install, trainable
from accorda.methods.registry import methods, read
from accorda.methods.stepping import extra_loss
from accorda.models.attention import use_attention
from accorda.planning.course import moments
from accorda.planning.hollow import hollow
from accorda.planning.ledger import Ledger
from accorda.planning.rehearsal import Passes, rehearse
from accorda.planning.workload import Workload
from accorda.quantization import quantize_model
from accorda.training.next_token import NextToken
from accorda.training.optimizers.groups import parameter_groups
from accorda.training.optimizers.registry import read as read_optimizer
from accorda.training.precision import Precision

ADAMW = read_optimizer({"name": "adamw"})
KINDS = ("cpu", "cuda")
PACKED = Workload((9, 5, 12), (3, 2, 4), packed=True)
PADDED = Workload((9, 5, 12), (3, 2, 4), packed=False)


def model_of(architecture="llama", method="lora", meta=False, quantization="none"):
    model = make(architecture, meta=meta)
    if quantization != "none":
        quantize_model(model, quantization)
    use_attention(model)
    ready = prepared(read({"name": method}), architecture)
    with torch.device("meta" if meta else "cpu"):
        install(freeze(model), ready)
    return model


def live_bytes(events, sizes):
    """The most that is alive at once."""
    live = most = 0
    for number, size in events:
        live += sizes[number] if size is not None else -sizes[number]
        most = max(most, live)
    return most


def real_step(model, work, precision):
    """The most that a real forward pass, backward pass and update hold beyond the model, by the same ledger."""
    batch = work.batch()
    targets = torch.arange(batch.num_supervised)
    model.train()
    optimizer, objective = ADAMW.build(parameter_groups(trainable(model))), NextToken(model)
    extra = extra_loss(model)
    with Ledger() as ledger:
        for tensor in [*model.parameters(), *model.buffers()]:
            ledger.note(tensor)
        for _ in range(2):
            with precision.autocast():
                loss = objective(model, Fixed(batch, targets)) / batch.num_supervised
            if extra is not None:
                loss = loss + extra()
            loss.backward()
            del loss
            optimizer.step()
            optimizer.zero_grad()
    return live_bytes(ledger.events, ledger.sizes)


class Fixed:
    """The batch with targets that exist."""

    def __init__(self, batch, targets):
        self.batch, self.places = batch, targets

    def inputs(self):
        return self.batch.inputs()

    def targets(self):
        return self.places, torch.zeros_like(self.places)


def rehearsed(model, work, precision):
    found = rehearse(model, NextToken, Passes((work,)), ADAMW, precision)
    return live_bytes(found.ledger.events, found.ledger.sizes)


@pytest.mark.parametrize("method", methods())
@pytest.mark.parametrize("work", [PACKED, PADDED], ids=["packed", "padded"])
def test_every_method_on_shapes_holds_what_it_really_holds(method, work):
    precision = Precision()
    expected = real_step(model_of(method=method), work, precision)
    unseen = 0.25 if method == "p_tuning" else 0.01  # the kernel of a recurrent network keeps what shapes do not show
    assert rehearsed(model_of(method=method, meta=True), work, precision) == pytest.approx(expected, rel=unseen)


@pytest.mark.parametrize("architecture", DECODERS)
def test_every_architecture(architecture):
    model = model_of(architecture)
    work = PADDED if use_attention(model) else PACKED
    expected = real_step(model_of(architecture), work, Precision())
    assert rehearsed(model, work, Precision()) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("quantization", ["none", "int8", "nf4"])
def test_precision_and_quantization(quantization):
    precision = Precision("bf16", "cpu")
    expected = real_step(model_of(quantization=quantization), PACKED, precision)
    found = rehearsed(model_of(quantization=quantization, meta=True), PACKED, precision)
    assert found == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("method", ["lora", "full", "layernorm"])
def test_on_a_gpu_a_step_finds_the_states_that_the_one_before_left(method):
    """There the first step is left out; what the second holds is the same."""
    passes = Passes((PACKED, PACKED))
    cpu, gpu = (rehearse(model_of(method=method), NextToken, passes, ADAMW, Precision("fp32", d)) for d in KINDS)
    assert [stretch.name for stretch in gpu.stretches] == ["start", "training"]
    ours, theirs = (moments(found, c_library=False)[-1] for found in (gpu, cpu))
    for item in ("weights", "base copy", "adapter", "gradients", "optimizer states", "activations"):
        assert ours[item] == theirs[item], item


def test_on_a_gpu_the_loss_takes_more_positions_at_once():
    """Of 500 positions all their logits, of which a CPU takes 256 at a time."""
    model, most = make("llama", meta=True, vocab_size=100_000), Workload((501,), (500,), packed=True)
    install(freeze(model), read({"name": "lora"}))
    sizes = {}
    for kind in KINDS:
        found = rehearse(model, NextToken, Passes((most,)), ADAMW, Precision("fp32", kind))
        loss = [size for number, size in found.ledger.sizes.items() if found.ledger.labels[number] == "loss chunks"]
        sizes[kind] = max(loss)
    assert sizes == {"cpu": 256 * 100_000 * 4, "cuda": 500 * 100_000 * 4}


def test_checkpointing_holds_less_and_as_much_as_it_really_does():
    long = Workload((60, 60), (5, 5), packed=True)
    plain = rehearsed(model_of(), long, Precision())
    models = [model_of(), model_of(meta=True)]
    for model in models:
        enable_checkpointing(model)
    found = rehearsed(models[1], long, Precision())
    assert found == pytest.approx(real_step(models[0], long, Precision()), rel=0.02)
    assert found < plain


def test_a_rehearsal_changes_nothing():
    model = model_of(method="full").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    held = {name: id(parameter) for name, parameter in model.named_parameters()}
    state = torch.get_rng_state()
    rehearsed(model, PACKED, Precision())
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == held
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training


def test_a_hollow_model_keeps_tied_parameters_tied_and_comes_back_after_an_error():
    model = make("gpt2")
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    before = embedding.weight
    with hollow(model):
        assert head.weight is embedding.weight
        assert embedding.weight is not before
    with pytest.raises(ZeroDivisionError), hollow(model):
        _ = 1 / 0
    assert embedding.weight is before
    assert head.weight is before


def test_the_cache_of_answers_is_that_of_every_position():
    model = model_of()
    rows, prompt, new = 3, 7, 5
    found = rehearse(model, NextToken, Passes((PACKED,), None, (rows, prompt, new)), ADAMW, Precision())
    cached = [number for number, kind in found.kinds.items() if kind == "key/value cache"]
    config = model.config
    per_position = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    together = sum(found.ledger.sizes[number] for number in cached)
    # behind the prompt, before the last token, and with it
    assert together == rows * per_position * (prompt + (prompt + new - 1) + (prompt + new))

"""The contract: what every registered method promises, on every architecture and number format it promises.

A new method's file is found by itself. Where a trait says no, the refusal is asserted. Rows read the method's defaults.
"""

import copy
import dataclasses
import inspect
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tests.methods.cases import (
    DENSE,
    FORMATS,
    Case,
    base_of,
    every_case,
    gradients,
    logits_of_base,
    loss_of,
    other_cases,
    packed,
    promised,
    refusal_of,
    train,
)
from tests.zoo import FALCONS, VOCABULARY, make

from accorda.errors import Refusal
from accorda.generation.sample import generate
from accorda.methods import registry
from accorda.methods.checkpointing import enable_checkpointing
from accorda.methods.checks import kind_of
from accorda.methods.contract import NotMergeable, SideMethod
from accorda.methods.host import placed
from accorda.methods.install import freeze, hosts, install, kept_tensors, own_tensors, remove, resting, trainable
from accorda.methods.merging import merge
from accorda.methods.routing import routing, use
from accorda.methods.storage import load_adapter, save_adapter
from accorda.methods.targets import base_parameters, is_ours
from accorda.models.attention import use_attention
from accorda.models.heads import last_hidden, logits
from accorda.models.roles import features, find
from accorda.quantization import QuantizedLinear, formats

EVERYWHERE = pytest.mark.parametrize("case", promised(every_case() + other_cases()), ids=str)
DECODERS = pytest.mark.parametrize("case", promised(every_case()), ids=str)
DENSE_DECODERS = pytest.mark.parametrize(
    "case", promised([case for case in every_case() if case.number_format == DENSE]), ids=str
)
ON_LLAMA = pytest.mark.parametrize("case", [Case(name, "llama") for name in registry.methods()], ids=str)
METHODS = pytest.mark.parametrize("name", registry.methods())
NEAR = 1e-5  # two ways to the same number in fp32; logits here are of order one
NEAR_THE_BASE = 2e-2  # of the largest logit: what a method that starts near the base may add to any


def say(model, inputs):
    with torch.no_grad():
        return model(**inputs).logits


def state(model):
    """Parameters and buffers of the base."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if not is_ours(name)}


def assert_same_state(one, other):
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


# What a method is


@METHODS
def test_lives_in_its_family_and_cites_its_source(name):
    method = registry.methods()[name]
    module = inspect.getmodule(method)
    assert method.family in registry.FAMILIES
    assert method.__module__ == f"accorda.methods.{method.family}.{name}"
    assert re.fullmatch(r"arXiv:\d{4}\.\d{4,5}|doi:10\.\S+", method.paper)
    assert re.search(r"\b(19|20)\d\d\b", module.__doc__), "the docstring names the year"
    assert "Deviations:" in module.__doc__


@METHODS
def test_has_a_test_file(name):
    method = registry.methods()[name]
    assert (Path(__file__).parent / method.family / f"test_{name}.py").is_file()


@METHODS
def test_settings_survive_the_recipe(name):
    method = registry.methods()[name]()
    section = registry.write(method)
    assert registry.read(section) == method
    assert section["name"] == name
    with pytest.raises(Refusal, match=r"method\.no_such_setting"):
        registry.read(section | {"no_such_setting": 1})


@METHODS
@pytest.mark.parametrize("number_format", formats())
def test_number_formats_are_promised_or_refused(name, number_format):
    case = Case(name, "llama", number_format)
    method, model = case.method, case.base()
    if method.traits.quantized_base:
        install(model, method)
    else:
        with pytest.raises(Refusal, match=rf"model\.quantization = {number_format} freezes"):
            install(model, method)


@METHODS
@pytest.mark.parametrize("architecture", ["llama", "bert", "t5"])
def test_architectures_are_promised_or_refused(name, architecture):
    method, model = Case(name, architecture).method, base_of(architecture, DENSE)
    refused = refusal_of(lambda: install(copy.deepcopy(model), method))
    assert bool(refused) == (kind_of(model) not in method.traits.architectures), refused


@METHODS
@pytest.mark.parametrize("architecture", ["llama", *FALCONS])
def test_our_attention_is_needed_or_not(name, architecture):
    case = Case(name, architecture)
    assert (use_attention(case.base()) is not None) == case.keeps_attention
    refused = refusal_of(lambda: install(case.base(), case.method))
    assert bool(refused) == (case.method.traits.needs_attention and case.keeps_attention), refused
    assert not refused or "keeps its own" in refused


@METHODS
def test_what_is_for_training_only_is_declared(name):
    method = registry.methods()[name]()
    assert (method.kept() != method) == method.traits.training_only_part
    assert method.kept().kept() == method.kept()


@METHODS
def test_stochastic_methods_draw_and_others_do_not(name):
    case = Case(name, "llama")
    model = case.built().train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    torch.manual_seed(1)
    one, other = (say(model, case.inputs()) for _ in range(2))
    assert torch.equal(one, other) != case.method.traits.stochastic


# Start, training, count


@EVERYWHERE
def test_start(case):
    """Near is within a fiftieth of the largest logit, and what promises nothing is further away."""
    base, built = logits_of_base(case.architecture, case.number_format), say(case.built(), case.inputs())
    promise, away = case.method.traits.identity_at_init, float((built - base).abs().max() / base.abs().max())
    assert promise == ("exact" if torch.equal(built, base) else "near" if away <= NEAR_THE_BASE else "no"), away


@EVERYWHERE
def test_only_its_own_parameters_train_and_all_of_them(case):
    model, trained = case.built(), case.trained()
    before, intended = dict(model.named_parameters()), trainable(model)
    moved = {name for name, tensor in trained.named_parameters() if not torch.equal(tensor, before[name])}
    assert moved <= intended.keys()
    assert intended.keys() - moved <= resting(trained).keys()
    own = {id(tensor) for tensor in trainable(trained).values()}
    frozen = [name for name, tensor in trained.state_dict(keep_vars=True).items() if id(tensor) not in own]
    now, base = state(trained), state(base_of(case.architecture, case.number_format))
    assert_same_state(
        {name: now[name] for name in now.keys() & frozen}, {name: base[name] for name in base.keys() & frozen}
    )
    assert all(tensor.grad is None for name, tensor in trained.named_parameters() if name not in intended)


@EVERYWHERE
def test_rests_only_where_it_declares(case):
    """A reason is no licence: without one, every gradient is a number and not zero."""
    model = case.trained()
    for name, gradient in gradients(model).items():
        assert bool(gradient.isfinite().all()), name
        assert bool(gradient.any()) or name in resting(model), name


@EVERYWHERE
def test_counts_without_building(case):
    count = case.method.num_parameters(make(case.architecture, meta=True))
    assert count.trained == sum(tensor.numel() for tensor in trainable(case.built()).values())
    dropped = case.method.traits.training_only_part
    kept = kept_tensors(case.built(), "default").values()  # places and running averages beside them are no parameters
    assert count.kept == sum(each.numel() for each in kept if dropped or isinstance(each, torch.nn.Parameter))
    assert (count.kept != count.trained) == dropped
    assert count.heads == 0


FUSED = ("gpt2", "gpt_neox", "falcon_new", "phi3")


@pytest.mark.parametrize("number_format", FORMATS)
@pytest.mark.parametrize("architecture", FUSED)
@pytest.mark.parametrize("name", [name for name, method in registry.methods().items() if method.kind == "module"])
def test_a_role_is_its_own_rows_of_a_fused_projection(name, architecture, number_format):
    case = Case(name, architecture, number_format)
    base, model = case.base(), freeze(case.base())
    install(model, dataclasses.replace(case.method, target_modules=("attention.query",)))
    with torch.no_grad():
        for tensor in own_tensors(model, "default").values():
            tensor.add_(0.1 * torch.randn_like(tensor))
    parts = {role: find(base, f"attention.{role}")[0] for role in ("query", "key", "value")}
    x = torch.randn(2, 3, parts["query"].in_features)
    before, after = parts["query"].module(x), model.get_submodule(parts["query"].name)(x)
    for role, site in parts.items():
        assert torch.equal(after[..., site.rows], before[..., site.rows]) == (role != "query")
    tuned = say(model, case.inputs())
    if not refusal_of(lambda: merge(model)):
        torch.testing.assert_close(say(model, case.inputs()), tuned, atol=NEAR, rtol=NEAR)
    else:
        assert not case.method.traits.mergeable or parts["query"].module.bias is None


# On and off


@EVERYWHERE
def test_switched_off_it_is_the_base(case):
    model, base = case.trained(), logits_of_base(case.architecture, case.number_format)
    tuned = say(model, case.inputs())
    with use(model):
        off = say(model, case.inputs())
    assert torch.equal(off, base)
    assert torch.equal(say(model, case.inputs()), tuned)
    assert not torch.equal(tuned, base)


@DENSE_DECODERS
def test_goes_back_after_an_exception_and_leaves_requires_grad(case):
    model = case.trained()
    tuned, before = say(model, case.inputs()), {name: p.requires_grad for name, p in model.named_parameters()}

    def fail_inside():
        with use(model):
            assert {name: p.requires_grad for name, p in model.named_parameters()} == before
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert torch.equal(say(model, case.inputs()), tuned)


@EVERYWHERE
def test_removed_it_leaves_the_base_bit_for_bit(case):
    model = copy.deepcopy(case.trained())
    installed_keys = set(model.state_dict())
    remove(model, "default")
    base = base_of(case.architecture, case.number_format)
    assert_same_state(model.state_dict(), base.state_dict())
    assert set(base.state_dict()) <= installed_keys
    assert torch.equal(say(model, case.inputs()), logits_of_base(case.architecture, case.number_format))
    assert {n: len(m._forward_hooks) + len(m._forward_pre_hooks) for n, m in model.named_modules()} == {
        n: len(m._forward_hooks) + len(m._forward_pre_hooks) for n, m in base.named_modules()
    }
    assert not trainable(model)


@DENSE_DECODERS
def test_a_copy_is_independent(case):
    model = case.trained()
    tuned, twin = say(model, case.inputs()), copy.deepcopy(model)
    assert torch.equal(say(twin, case.inputs()), tuned)
    with use(twin):
        assert torch.equal(say(model, case.inputs()), tuned)
    remove(twin, "default")
    assert torch.equal(say(model, case.inputs()), tuned)


@ON_LLAMA
def test_two_adapters_of_one_method_stay_apart(case):
    model = copy.deepcopy(case.trained())
    first = say(model, case.inputs())
    with use(model):
        install(model, case.method, "second")
        with use(model, "second"):
            train(model, case, steps=2)
            second = say(model, case.inputs())
    assert torch.equal(say(model, case.inputs()), first)
    with use(model, "second"):
        assert torch.equal(say(model, case.inputs()), second)
    assert not torch.equal(first, second)
    remove(model, "default")
    with use(model, "second"):
        assert torch.equal(say(model, case.inputs()), second)


# Files


@EVERYWHERE
def test_saved_and_loaded_it_says_the_same(case, tmp_path):
    model = case.trained()
    save_adapter(model, tmp_path)
    torch.manual_seed(99)  # whatever the start values are, the file's replace them
    loaded = load_adapter(freeze(case.base()), tmp_path, "again")
    assert torch.equal(say(loaded, case.inputs()), say(model, case.inputs()))
    assert {name: tensor.shape for name, tensor in own_tensors(loaded, "again").items()} == {
        name: tensor.shape for name, tensor in kept_tensors(model, "default").items()
    }
    assert not trainable(loaded)
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        stored = sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118
    own = sum(tensor.numel() for tensor in kept_tensors(model, "default").values())
    assert stored == own or (stored > own and acts_on_parts(model))  # PEFT's files know whole modules only


@ON_LLAMA
def test_loaded_to_go_on_it_trains_as_if_never_saved(case, tmp_path):
    """But what is for training only is gone: then it goes on from the same function and trains what is kept."""
    here = copy.deepcopy(case.trained())
    save_adapter(here, tmp_path)
    there = load_adapter(freeze(case.base()), tmp_path, trainable=True)
    before = say(there, case.inputs())
    assert torch.equal(say(here, case.inputs()), before)
    for model in (here, there):
        train(model, case, steps=1)
    assert not torch.equal(say(there, case.inputs()), before)
    dropped = case.method.traits.training_only_part
    assert torch.equal(say(here, case.inputs()), say(there, case.inputs())) != dropped
    count = case.method.num_parameters(case.base())
    trained = sum(tensor.numel() for tensor in trainable(there).values())
    assert trained == (count.kept if dropped else count.trained)


def acts_on_parts(model):
    """Whether an adapter acts on some rows of a fused projection."""
    return any(one.base.rows is not None for _, module in hosts(model) for one in placed(module, "default"))


# Merging


def needs_a_bias_that_files_lack(model):
    """Whether a module without a bias answers something to nothing."""
    without = [module for _, module in hosts(model) if getattr(module, "bias", None) is None]
    return any(bool(module(torch.zeros(1, 1, features(module)[0])).any()) for module in without)


@EVERYWHERE
def test_merged_says_the_same_or_is_refused(case):
    model = copy.deepcopy(case.trained())
    tuned = say(model, case.inputs())
    if not case.method.traits.mergeable or needs_a_bias_that_files_lack(model):
        with pytest.raises(NotMergeable):
            merge(model)
        assert torch.equal(say(model, case.inputs()), tuned)
        return
    merge(model)
    torch.testing.assert_close(say(model, case.inputs()), tuned, atol=NEAR, rtol=NEAR)
    assert not any(is_ours(name) for name in model.state_dict())
    if case.number_format == DENSE:
        assert model.state_dict().keys() == base_of(case.architecture, DENSE).state_dict().keys()
        assert not torch.equal(say(model, case.inputs()), logits_of_base(case.architecture, DENSE))
    assert not trainable(model)


# Rows, packing, padding


def alone(model, case, name, row, length=7, decoder_length=5):
    """What the model says to one row under one route."""
    inputs = {"input_ids": case.inputs()["input_ids"][row : row + 1, :length]}
    if "decoder_input_ids" in case.inputs():
        inputs["decoder_input_ids"] = case.inputs()["decoder_input_ids"][row : row + 1, :decoder_length]
    with use(model, name):
        return say(model, inputs)[0]


def trains_base(case):
    return case.method.kind == "parameter"


def counts_positions_inside(case):
    """BART: rows with prompts of different lengths would need positions it does not take; a prefix needs none there."""
    return case.architecture == "bart" and case.method.kind == "prompt" and not case.method.traits.needs_attention


@EVERYWHERE
def test_rows_of_one_batch_equal_each_alone(case):
    model = case.trained()
    rows = ["default", None, "default"]
    if trains_base(case) or counts_positions_inside(case):
        with pytest.raises(Refusal, match="rows"), use(model, rows=rows):
            say(model, case.inputs())
        return
    with use(model, rows=rows):
        mixed = say(model, case.inputs())
    for row, name in enumerate(rows):
        torch.testing.assert_close(mixed[row], alone(model, case, name, row), atol=NEAR, rtol=NEAR)


@EVERYWHERE
def test_packed_rows_equal_each_alone(case):
    model = case.trained()
    if (reason := use_attention(case.base())) is not None:
        assert "falcon" in case.architecture, reason
        return
    lengths, decoder_lengths = (4, 7, 5), (5, 3, 4) if "decoder_input_ids" in case.inputs() else ()
    inputs = packed(case.inputs(), lengths, decoder_lengths)
    routes = [["default"] * 3] if trains_base(case) else [["default"] * 3, ["default", None, "default"]]
    for route in routes:
        with use(model, "default") if None not in route else use(model, rows=route):
            together = say(model, inputs)[0]
        ends = inputs["packing"].borders
        for row, name in enumerate(route):
            single = alone(model, case, name, row, lengths[row], (decoder_lengths or lengths)[row])
            torch.testing.assert_close(together[ends[row] : ends[row + 1]], single, atol=NEAR, rtol=NEAR)


@DECODERS
def test_padded_rows_equal_each_alone(case):
    model, inputs = case.trained(), case.inputs()
    inputs["attention_mask"][1, 4:] = 0
    padded = say(model, inputs)
    for row, length in enumerate((7, 4, 7)):
        single = alone(model, case, "default", row, length)
        torch.testing.assert_close(padded[row, :length], single, atol=NEAR, rtol=NEAR)


@DECODERS
def test_hidden_states_and_tail_are_the_model(case):
    """The chunked loss runs the tail on hidden states; no method may act there twice."""
    model = case.trained()
    with torch.no_grad():
        hidden = last_hidden(model, **case.inputs())
        torch.testing.assert_close(logits(model, hidden), say(model, case.inputs()), atol=NEAR, rtol=NEAR)


# Generation


@EVERYWHERE
def test_generates_the_same_with_and_without_a_cache(case):
    if not case.has_decoder:
        assert not base_of(case.architecture, case.number_format).can_generate()
        return
    model, inputs = case.trained(), case.inputs()
    inputs.pop("decoder_input_ids", None)
    settings = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    for route in [["default"] * 3] if trains_base(case) else [["default"] * 3, ["default", None, "default"]]:
        if None in route and counts_positions_inside(case):
            continue
        with use(model, "default") if None not in route else use(model, rows=route):
            cached, whole = (model.generate(**inputs, **settings, use_cache=cache) for cache in (True, False))
        assert torch.equal(cached, whole)
        for row, name in enumerate(route):
            with use(model, name):
                single = model.generate(input_ids=inputs["input_ids"][row : row + 1], **settings)
            assert torch.equal(cached[row], single[0])


@EVERYWHERE
def test_samples_of_a_prompt_are_what_each_is_alone(case):
    if not case.has_decoder:
        return
    model, prompts = case.trained(), [[5, 9, 31, 7], [7, 8]]
    settings = {"temperature": 1.0, "max_new_tokens": 3, "stop_ids": ()}
    together = generate(model, prompts, num_samples=2, seeds=[(0,), (1,)], **settings)
    for row, found in enumerate(together):
        prompt, sample = divmod(row, 2)
        alone = generate(model, [prompts[prompt]], seeds=[(prompt, sample)], **settings)[0]
        assert found.token_ids == alone.token_ids
        assert found.log_probs == pytest.approx(alone.log_probs, abs=1e-3)


# Precision, checkpointing, compilation


@DECODERS
def test_keeps_its_own_precision_on_a_bfloat16_base(case):
    model = install(freeze(case.base().to(torch.bfloat16)), case.method)
    for name, tensor in trainable(model).items():
        assert tensor.dtype == (torch.bfloat16 if name in base_parameters(model) else torch.float32), name
    with use(model):
        off = say(model, case.inputs())
    built = model(**case.inputs()).logits
    assert built.dtype == off.dtype == torch.bfloat16
    promise = case.method.traits.identity_at_init
    assert torch.equal(built, off) == (promise == "exact") or promise == "near"  # a small change may vanish in bfloat16
    built.float().square().mean().backward()
    assert all(bool(gradient.isfinite().all()) for gradient in gradients(model).values())


@DENSE_DECODERS
def test_checkpointing_changes_no_gradient(case):
    kept = copy.deepcopy(case.trained()).train()
    recomputed = copy.deepcopy(kept)
    enable_checkpointing(recomputed)
    for model in (kept, recomputed):
        model.zero_grad()
        torch.manual_seed(5)
        loss_of(model, case.inputs()).backward()
    for name, gradient in gradients(kept).items():
        torch.testing.assert_close(gradients(recomputed)[name], gradient, atol=1e-6, rtol=1e-5)


@DENSE_DECODERS
def test_backward_under_another_route(case):
    """The gradient is that of the forward pass's route; where that cannot be, it is refused."""
    model = copy.deepcopy(case.trained()).train()
    model.zero_grad()
    torch.manual_seed(5)
    loss_of(model, case.inputs()).backward()
    expected = gradients(model)
    for checkpoint in (False, True):
        if checkpoint:
            enable_checkpointing(model)
        model.zero_grad()
        torch.manual_seed(5)
        loss = loss_of(model, case.inputs())
        with use(model):
            refused = refusal_of(loss.backward, (Refusal, RuntimeError))
        if refused:
            assert trains_base(case), refused
            assert "backward" in refused or "modified by an inplace" in refused
            continue
        for name, gradient in expected.items():
            torch.testing.assert_close(gradients(model)[name], gradient, atol=1e-6, rtol=1e-5)


@DENSE_DECODERS
def test_another_route_between_forward_and_backward(case):
    """What preference training does: policy, then reference on the same base, then backward."""
    model = copy.deepcopy(case.trained())
    results = []
    for visit in (False, True):
        model.zero_grad()
        loss = loss_of(model, case.inputs())
        if visit:
            with use(model):
                say(model, case.inputs())
        loss.backward()
        results.append(gradients(model))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


@ON_LLAMA
def test_compiles_without_a_graph_break(case):
    model = copy.deepcopy(case.trained())
    tuned = say(model, case.inputs())
    torch._dynamo.reset()
    model.model.layers[0].compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(say(model, case.inputs()), tuned, atol=NEAR, rtol=NEAR)
    with use(model):
        off = say(model, case.inputs())
    torch.testing.assert_close(off, logits_of_base("llama", DENSE), atol=NEAR, rtol=NEAR)


@DENSE_DECODERS
def test_side_networks_need_no_graph_in_the_backbone(case):
    model = case.built().train()
    seen = []
    for block in [module for name, module in model.named_modules() if re.search(r"\.\d+$", name)]:
        block.register_forward_hook(lambda module, args, out: seen.append(out[0] if isinstance(out, tuple) else out))
    loss_of(model, case.inputs()).backward()
    assert seen
    assert any(tensor.requires_grad for tensor in seen) != isinstance(case.method, SideMethod)


@METHODS
def test_base_parameters_stay_apart_from_its_own(name):
    model, base = Case(name, "llama").built(), base_of("llama", DENSE)
    assert base_parameters(model).keys() == dict(base.named_parameters()).keys()
    assert routing(model).route.active == ("default",)
    assert not any(isinstance(module, QuantizedLinear) for module in model.modules())
    assert model.config.vocab_size == VOCABULARY

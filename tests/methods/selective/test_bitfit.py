"""BitFit against training the biases themselves, and the paper's count."""

import copy

import pytest
import torch
from tests.methods.cases import loss_of
from tests.zoo import batch, make
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel

from accorda.errors import Refusal
from accorda.methods.contract import NotMergeable
from accorda.methods.install import freeze, install, own_tensors, resting, trainable
from accorda.methods.merging import merge
from accorda.methods.selective.bitfit import BitFit


@pytest.mark.parametrize("architecture", ["gpt2", "bert"])
def test_takes_the_steps_that_training_the_biases_takes(architecture):
    """Change beside the bias or the bias itself: the same weights after three steps of AdamW."""
    tuned, naive, inputs = freeze(make(architecture)), make(architecture), batch(architecture)
    install(tuned, BitFit(only_existing=True))
    chosen = {path.rpartition(".0_all")[0] for path in own_tensors(tuned, "default")}
    for name, parameter in naive.named_parameters():
        path, _, leaf = name.rpartition(".")
        parameter.requires_grad_(leaf == "bias" and path in chosen)
    for model in (tuned, naive):
        optimizer = torch.optim.AdamW(trainable(model).values(), lr=0.01, weight_decay=0, eps=1e-4)
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model, inputs).backward()
            optimizer.step()
    torch.testing.assert_close(tuned(**inputs).logits, naive(**inputs).logits, atol=2e-5, rtol=1e-5)
    merged = merge(copy.deepcopy(tuned))
    for name, parameter in naive.named_parameters():
        torch.testing.assert_close(merged.get_parameter(name).data, parameter.data, atol=2e-5, rtol=1e-5)


def test_output_is_shifted():
    model = install(freeze(make("llama")), BitFit())
    with torch.no_grad():
        for tensor in own_tensors(model, "default").values():
            tensor.fill_(0.5)
    linear, norm = model.model.layers[0].mlp.up_proj, model.model.layers[0].input_layernorm
    x = torch.randn(2, 3, 32)
    torch.testing.assert_close(linear(x), x @ linear.weight.T + 0.5)
    torch.testing.assert_close(norm(x), norm.weight * x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() + 0.5)


LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}


@pytest.mark.parametrize(("config", "count"), [({}, 102_912), (LARGE, 272_384)], ids=["base", "large"])
@pytest.mark.parametrize("cls", [BertModel, BertForSequenceClassification])
def test_counts_of_the_paper(cls, config, count):
    """0.09% of BERT-base, 0.08% of BERT-large: L (7 D + F) in blocks, D of the embeddings' norm and D of the pooler.

    The checkpoint brings the pooler; the classifier is new and counts apart.
    """
    with torch.device("meta"):
        model = cls(BertConfig(**config))
    width, inner, depth = model.config.hidden_size, model.config.intermediate_size, model.config.num_hidden_layers
    assert depth * (7 * width + inner) + width + width == count
    assert BitFit(only_existing=True).num_parameters(model).trained == count
    assert BitFit().num_parameters(model).trained == count  # every linear and norm of BERT has a bias
    subset = BitFit(target_modules=("attention.query", "mlp.up"))  # the smaller variant of the paper
    assert subset.num_parameters(model).trained == depth * (width + inner)


def test_a_new_pooler_trains_whole_and_a_language_head_not_at_all():
    with torch.device("meta"):
        classifier, language = BertForSequenceClassification(BertConfig()), BertForMaskedLM(BertConfig())
    classifier.accorda_new_heads = ("bert.pooler", "classifier")
    count = BitFit(only_existing=True).num_parameters(classifier)
    assert count.trained == 102_912 - 768
    assert count.heads == 768 * 768 + 768 + 2 * 768 + 2
    head_norm = 768  # of the masked language model's transform
    assert BitFit(only_existing=True).num_parameters(language).trained == 102_912 - 768 + head_norm


def test_existing_biases_only():
    with pytest.raises(Refusal, match=r"method\.only_existing = true: no .* has a bias; leave it out"):
        install(make("llama"), BitFit(only_existing=True))
    model = install(freeze(make("qwen2")), BitFit(only_existing=True))
    assert {name.split(".adapters")[0].rpartition(".")[2] for name in trainable(model)} == {
        "q_proj",
        "k_proj",
        "v_proj",
    }


def test_takes_roles_as_targets():
    model = install(freeze(make("gpt2")), BitFit(target_modules=("attention.query", "mlp.up")))
    assert sum(tensor.numel() for tensor in trainable(model).values()) == 2 * (32 + 128)


def test_refuses_to_merge_where_files_have_no_bias():
    model = install(freeze(make("llama")), BitFit())
    with pytest.raises(NotMergeable, match=r"merge: model\.layers\.0.*Linear would need a bias.*no place"):
        merge(model)


@pytest.mark.parametrize(("architecture", "rests"), [("bert", True), ("t5", True), ("llama", False), ("qwen3", False)])
def test_bias_of_keys_may_rest_where_nothing_tells_keys_apart(architecture, rests):
    model = install(freeze(make(architecture)), BitFit())
    reasons = resting(model)
    assert bool(reasons) == rests
    assert all("shift" in reason for reason in reasons.values())
    loss_of(model, batch(architecture)).backward()
    largest = max(parameter.grad.abs().max() for parameter in trainable(model).values())
    for name in reasons:
        assert trainable(model)[name].grad.abs().max() < 1e-6 * largest


def test_the_biases_of_a_classifier_with_a_pooler_train():
    torch.manual_seed(0)
    config = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = install(freeze(BertForSequenceClassification(BertConfig(vocab_size=67, **config)).eval()), BitFit())
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    before = model(input_ids=ids).logits
    delta = own_tensors(model, "default")["bert.pooler.dense.0_all.delta"]
    torch.nn.functional.cross_entropy(before, torch.tensor([0, 1])).backward()
    assert delta.grad.any()
    with torch.no_grad():
        delta.add_(0.5)
    tuned = model(input_ids=ids).logits
    assert not torch.allclose(tuned, before)
    assert not resting(model).keys() & {name for name in trainable(model) if "pooler" in name}
    torch.testing.assert_close(merge(model)(input_ids=ids).logits, tuned)

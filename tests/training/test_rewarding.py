"""Rewards and their loss against transformers' own sequence classification, one answer at a time."""

import pytest
import torch
from tests.stages.compared import PAIRS, RANKED
from tests.training.test_preferring import batches_of, gradients, rows_of
from tests.zoo import configuration
from transformers import AutoModelForSequenceClassification

from accorda.methods.install import freeze, install
from accorda.methods.reparametrized.lora import LoRA
from accorda.models.attention import use_attention
from accorda.objectives.reward import k_wise
from accorda.training.rewarding import Rewarding, rewards


def reward_model(architecture="llama", dtype=torch.float32):
    torch.manual_seed(0)
    config = configuration(architecture, vocab_size=328, num_labels=1, pad_token_id=0)
    model = AutoModelForSequenceClassification.from_config(config, dtype=dtype)
    torch.nn.init.normal_(model.score.weight, std=0.5)
    model.accorda_new_heads = ("score",)
    use_attention(model)
    install(freeze(model), LoRA(rank=2))
    return model.train()


def alone(model, segment):
    found = [model(input_ids=torch.tensor([answer.input_ids.tolist()])).logits[0, 0] for answer in segment.answers]
    return torch.stack(found)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox"])
def test_rewards_are_those_of_each_answer_alone(architecture, packed, tmp_path):
    dataset, model = rows_of(RANKED, tmp_path), reward_model(architecture)
    batch = batches_of(dataset, packed=packed).at(0)[0]
    wanted = torch.cat([alone(model, segment) for segment in batch.segments])
    torch.testing.assert_close(rewards(model, batch), wanted, rtol=1e-4, atol=1e-5)


def test_rankings_have_the_loss_of_the_paper_and_pairs_their_margin_and_centring(tmp_path):
    model = reward_model()
    (ranked,) = batches_of(rows_of(RANKED, tmp_path), rows=5).at(0)
    expected = [k_wise(alone(model, s), torch.tensor(s.ranks)) for s in ranked.segments]
    torch.testing.assert_close(Rewarding(model)(model, ranked), torch.stack(expected).sum(), rtol=1e-5, atol=1e-5)
    rows = [row | {"margin": number / 10} for number, row in enumerate(PAIRS)]
    (pairs,) = batches_of(rows_of(rows, tmp_path), rows=40).at(0)
    total = torch.zeros(())
    for segment in pairs.segments:
        better, worse = alone(model, segment)
        margin = (segment.line - 1) / 10
        total = total - torch.nn.functional.logsigmoid(better - worse - margin) + 0.01 * (better + worse) ** 2
    torch.testing.assert_close(Rewarding(model, centring=0.01)(model, pairs), total, rtol=1e-4, atol=1e-4)


def test_every_split_into_micro_batches_has_the_same_gradient(tmp_path):
    dataset, model = rows_of(RANKED, tmp_path), reward_model()
    objective = Rewarding(model, centring=0.01)
    found = []
    for micro in (1, 150, 10_000):
        batches = batches_of(dataset, rows=8, micro=micro).at(0)
        found.append(gradients(model, [objective(model, batch) / 8 for batch in batches]))
    assert "score.weight" in found[0]
    scale = max(float(gradient.abs().max()) for gradient in found[0].values())
    for other in found[1:]:
        for key in other:
            torch.testing.assert_close(other[key] / scale, found[0][key] / scale, rtol=0, atol=1e-6)


def test_the_head_computes_in_fp32_under_autocast(tmp_path):
    dataset, model = rows_of(PAIRS, tmp_path), reward_model()
    (batch,) = batches_of(dataset).at(0)
    seen = []
    handle = model.score.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert rewards(model, batch).dtype == torch.float32
    handle.remove()
    assert seen == [torch.float32]

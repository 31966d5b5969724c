"""The objectives of compared answers against a padded loop over transformers' own forward passes."""

import numpy as np
import pytest
import torch
from tests.stages.compared import PAIRS, RANKED, THUMBS
from tests.zoo import make, tiny_tokenizer

from accorda.data.preferences.batch import PreferenceBatches
from accorda.data.preferences.prepare import prepare_preferences
from accorda.data.preferences.renderer import PreferenceRenderer
from accorda.methods.install import freeze, install, trainable
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.routing import use
from accorda.methods.selective.full import Full
from accorda.models.attention import use_attention
from accorda.objectives.preference.contract import Pairs
from accorda.objectives.preference.kto import KTO, Labelled, reference_point
from accorda.objectives.preference.registry import algorithms
from accorda.recipe.sections import DataSection
from accorda.training.preferring import objective_of

NAMES = sorted(algorithms().keys() - {"kto"})


def rows_of(rows, store, thumbs=False):
    renderer = PreferenceRenderer(tiny_tokenizer(), thumbs=thumbs)
    return prepare_preferences(DataSection(train=rows, eval_split=0.0), renderer, max_length=128, store_folder=store)[0]


def model_of(method, architecture="llama", **config):
    model = make(architecture, vocab_size=328, **config)
    use_attention(model)
    install(freeze(model), method)
    randomise_adapter(model)
    return model.train()


def randomise_adapter(model):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)


def batches_of(dataset, rows=8, micro=10_000, packed=True):
    return PreferenceBatches(dataset, batch_size=rows, micro_tokens=micro, packed=packed)


def naive_sums(model, answers):
    """Padded on the right, whole logits, log_softmax, gather: what everybody's first trainer does."""
    longest = max(map(len, answers))
    ids = torch.zeros(len(answers), longest, dtype=torch.long)
    learned = torch.zeros(len(answers), longest, dtype=torch.bool)
    mask = torch.zeros(len(answers), longest, dtype=torch.long)
    for row, answer in enumerate(answers):
        ids[row, : len(answer)] = torch.from_numpy(answer.input_ids.astype(np.int64))
        learned[row, : len(answer)] = torch.from_numpy(answer.supervised)
        mask[row, : len(answer)] = 1
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
    found = torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])[..., 0]
    return (found * learned[:, 1:]).sum(1), learned[:, 1:].sum(1)


def naive_loss(model, algorithm, segments):
    losses = []
    for segment in segments:
        with torch.no_grad(), use(model, None):
            reference, _ = naive_sums(model, segment.answers)
        sums, lengths = naive_sums(model, segment.answers)
        mine = []
        for one, better in enumerate(segment.ranks):
            for other, worse in enumerate(segment.ranks):
                if better < worse:
                    both = [sums[[one]], sums[[other]], lengths[[one]], lengths[[other]]]
                    both += [reference[[one]], reference[[other]]] if algorithm.needs_reference else []
                    mine.append(algorithm.losses(Pairs(*both)))
        losses.append(torch.cat(mine).mean())
    return torch.stack(losses).sum()


def gradients(model, losses):
    model.zero_grad()
    for loss in losses:
        loss.backward()
    return {name: p.grad.clone() for name, p in trainable(model).items() if p.grad is not None}


@pytest.mark.parametrize("rows", [PAIRS, RANKED], ids=["pairs", "ranked"])
@pytest.mark.parametrize("method", [LoRA(rank=2), Full()], ids=["lora", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradient_equal_a_padded_loops(name, method, rows, tmp_path):
    dataset, model, algorithm = rows_of(rows, tmp_path), model_of(method), algorithms()[name]()
    (batch,) = batches_of(dataset).at(0)
    objective = objective_of(algorithm)(model)
    loss = objective(model, batch)
    ours = gradients(model, [loss])
    naive = naive_loss(model, algorithm, batch.segments)
    theirs = gradients(model, [naive])
    torch.testing.assert_close(loss.detach(), naive.detach(), rtol=1e-5, atol=1e-5)
    scale = max(float(gradient.abs().max()) for gradient in theirs.values())
    assert ours.keys() == theirs.keys()
    for key in theirs:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-4, atol=2e-5 * scale)


def test_thumbs_equal_a_padded_loop_with_the_distance_of_the_whole_step(tmp_path):
    dataset, model, algorithm = rows_of(THUMBS, tmp_path, thumbs=True), model_of(LoRA(rank=2)), KTO(beta=0.3)
    batches = batches_of(dataset, rows=8).at(0)
    objective = objective_of(algorithm)(model)
    objective.begin(model, batches)
    ours = sum(objective(model, batch) for batch in batches)
    segments = [segment for batch in batches for segment in batch.segments]
    crossed = objective.distance
    with torch.no_grad(), use(model, None):
        reference, _ = naive_sums(model, [s.answers[0] for s in segments])
    sums, _ = naive_sums(model, [s.answers[0] for s in segments])
    liked = torch.tensor([s.ranks[0] == 0 for s in segments])
    naive = algorithm.losses(Labelled(sums, reference, liked), crossed).sum()
    torch.testing.assert_close(ours, naive, rtol=1e-5, atol=1e-5)
    figures = objective.figures()
    assert figures["kl"] == float(crossed)
    rewards = algorithm.beta * (sums - reference).detach()
    assert figures["rewards/chosen"] == pytest.approx(float(rewards[liked].mean()), abs=1e-5)
    assert figures["rewards/margin"] == pytest.approx(float(rewards[liked].mean() - rewards[~liked].mean()), abs=1e-5)


def test_the_distance_is_that_of_prompts_with_other_rows_answers(tmp_path):
    dataset, model = rows_of(THUMBS, tmp_path, thumbs=True), model_of(LoRA(rank=2))
    (batch,) = batches_of(dataset, rows=6).at(0)
    objective = objective_of(KTO())(model)
    objective.begin(model, [batch])
    order = sorted(batch.segments, key=lambda s: int(_key(s.index)))
    pairs = zip(order, [*order[1:], order[0]], strict=True)
    differences = []
    for one, other in pairs:
        ids = [*one.input_ids[~one.supervised], *other.input_ids[other.supervised]]
        ids, start = torch.tensor([ids]), int((~one.supervised).sum())
        with torch.no_grad():
            policy = torch.log_softmax(model(input_ids=ids).logits[0].float(), -1)
            with use(model, None):
                reference = torch.log_softmax(model(input_ids=ids).logits[0].float(), -1)
        at = torch.arange(start, ids.shape[1])
        differences.append((policy - reference)[at - 1, ids[0, at]].sum())
    expected = reference_point(torch.stack(differences), torch.zeros(len(differences)))
    torch.testing.assert_close(objective.distance, expected, rtol=1e-4, atol=1e-5)


def _key(index):
    from accorda.data.order import keys

    return keys(0, 0, np.array([index]))[0]


@pytest.mark.parametrize("name", [*NAMES, "kto"])
@pytest.mark.parametrize("packed", [True, False])
def test_every_split_into_micro_batches_has_the_same_gradient(name, packed, tmp_path):
    rows, thumbs = (THUMBS, True) if name == "kto" else (RANKED, False)
    dataset, model = rows_of(rows, tmp_path, thumbs), model_of(LoRA(rank=2))
    objective = objective_of(algorithms()[name]())(model)
    found = []
    for micro in (1, 150, 10_000):
        batches = batches_of(dataset, rows=8, micro=micro, packed=packed).at(0)
        objective.begin(model, batches)
        found.append(gradients(model, [objective(model, batch) / 8 for batch in batches]))
    assert len(batches_of(dataset, rows=8, micro=1, packed=packed).at(0)) == 8
    scale = max(float(gradient.abs().max()) for gradient in found[0].values())
    for other in found[1:]:
        for key in other:
            torch.testing.assert_close(other[key] / scale, found[0][key] / scale, rtol=0, atol=1e-6)


def test_packed_equals_padded(tmp_path):
    dataset, model = rows_of(PAIRS, tmp_path), model_of(LoRA(rank=2))
    objective = objective_of(algorithms()["dpo"]())(model)
    losses = [sum(objective(model, b) for b in batches_of(dataset, packed=packed).at(0)) for packed in (True, False)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)


def test_logits_exist_for_a_chunk_of_supervised_positions_at_a_time(tmp_path):
    dataset, model = rows_of(PAIRS, tmp_path), model_of(LoRA(rank=2))
    (batch,) = batches_of(dataset).at(0)
    objective = objective_of(algorithms()["dpo"]())(model)
    whole = objective(model, batch)
    seen, objective.sequence_loss.chunk = [], 7
    handle = model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[-2]))
    policy = objective(model, batch)
    handle.remove()
    chunks = -(-sum(batch.learned) // 7)
    assert max(seen[-chunks:]) == 7
    assert sum(seen[-chunks:]) == sum(batch.learned)
    torch.testing.assert_close(policy, whole, rtol=1e-6, atol=1e-6)


def test_nothing_is_dropped_in_either_pass(tmp_path):
    dataset, model = rows_of(PAIRS, tmp_path), model_of(LoRA(rank=2), "gpt2", resid_pdrop=0.5, embd_pdrop=0.5)
    (batch,) = batches_of(dataset).at(0)
    objective = objective_of(algorithms()["dpo"]())(model)
    assert model.training
    one, other = (objective(model, batch).detach() for _ in range(2))
    assert torch.equal(one, other)


def test_figures_are_those_of_the_step(tmp_path):
    dataset, model, algorithm = rows_of(RANKED, tmp_path), model_of(LoRA(rank=2)), algorithms()["dpo"]()
    batches = batches_of(dataset, micro=150).at(0)
    objective = objective_of(algorithm)(model)
    objective(model, batches[0])
    objective.begin(model, batches)
    for batch in batches:
        objective(model, batch)
    chosen, rejected, log_probs = [], [], []
    for segment in (segment for batch in batches for segment in batch.segments):
        with torch.no_grad():
            sums, _ = naive_sums(model, segment.answers)
            with use(model, None):
                reference, _ = naive_sums(model, segment.answers)
        rewards = algorithm.beta * (sums - reference)
        pairs = [(i, j) for i, a in enumerate(segment.ranks) for j, b in enumerate(segment.ranks) if a < b]
        chosen += [float(rewards[i]) for i, _ in pairs]
        rejected += [float(rewards[j]) for _, j in pairs]
        log_probs += [float(sums[i]) for i, _ in pairs]
    figures = objective.figures()
    wins = np.mean([a > b for a, b in zip(chosen, rejected, strict=True)])
    expected = {
        "rewards/chosen": np.mean(chosen),
        "rewards/rejected": np.mean(rejected),
        "rewards/margin": np.mean(chosen) - np.mean(rejected),
        "rewards/accuracy": wins,
        "log_probs/chosen": np.mean(log_probs),
    }
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, abs=1e-4), name


def test_a_base_that_was_not_kept_is_refused_at_once():
    from accorda.errors import Refusal

    model = model_of(Full(keep_base=False))
    with pytest.raises(Refusal, match="the base's value was not kept"):
        objective_of(algorithms()["dpo"]())(model)
    objective_of(algorithms()["simpo"]())(model)

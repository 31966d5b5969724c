"""The proof of the start, and of the mask of compared answers: each fault made on purpose is named."""

import numpy as np
import pytest
import torch
from tests.stages.compared import PAIRS, THUMBS, settings

from accorda.data.preferences import batch as batch_file
from accorda.data.preferences.dataset import PreferenceDataset
from accorda.proofs.comparisons import comparisons
from accorda.proofs.gradient import Gradient
from accorda.proofs.packing import Packing
from accorda.proofs.start import Start, Watch
from accorda.recipe.load import load
from accorda.stages.build import build
from accorda.training import preferring


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))


def made(tmp_path, **more):
    return build(load(settings(tmp_path, **more)))


def start_of(session):
    Watch(session).before_first_step(session.loop)
    return Start().prove(session, session.folder.path)


def mask_of(session):
    return comparisons(session.train, session.renderer, session.recipe.data, session.batches)


def failed(proof):
    return [entry["name"] for entry in proof.evidence["checks"] if entry["verdict"] == "fails"]


def test_it_holds_and_says_log_2(tmp_path):
    proof = start_of(made(tmp_path))
    assert proof.verdict == "holds"
    assert "the loss was 0.693147" in proof.reason


def test_a_policy_that_is_not_its_reference_is_found(tmp_path):
    session = made(tmp_path)
    with torch.no_grad():
        for name, parameter in session.loop.parameters().items():
            if name.endswith("lora_B"):
                parameter.fill_(0.05)
    proof = start_of(session)
    assert proof.verdict == "fails"
    assert "policy and reference differ by up to" in proof.reason
    assert "reference" in failed(proof)


def test_a_reference_pass_over_other_tokens_is_found(tmp_path, monkeypatch):
    session = made(tmp_path)
    whole = preferring.sequence_log_probs
    monkeypatch.setattr(
        preferring, "sequence_log_probs", lambda model, batch, learned: whole(model, batch, learned) / 2
    )
    assert start_of(session).verdict == "fails"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"algorithm": {"name": "simpo"}}, "nothing is compared with a reference"),
        ({"stage": "reward"}, "nothing is compared with a reference"),
        ({"method": {"name": "prompt_tuning"}}, "PromptTuning changes what the model says from the start"),
    ],
)
def test_where_there_is_nothing_to_say(more, why, tmp_path):
    session = made(tmp_path, **more)
    assert Start().observers(session) == []
    proof = Start().prove(session, session.folder.path)
    assert (proof.verdict, proof.reason) == ("not applicable", why)


@pytest.mark.parametrize("rows", [PAIRS, THUMBS], ids=["pairs", "thumbs"])
def test_the_mask_holds(rows, tmp_path):
    session = made(tmp_path, rows=rows, algorithm={"name": "kto"} if rows is THUMBS else {})
    assert mask_of(session).verdict == "holds"


def swapped_ranks(monkeypatch):
    plain = PreferenceDataset.__getitem__

    def other(self, index):
        return batch_file.replace(plain(self, index), ranks=plain(self, index).ranks[::-1])

    monkeypatch.setattr(PreferenceDataset, "__getitem__", other)


def unlearned_ends(monkeypatch):
    plain = PreferenceDataset.__getitem__

    def other(self, index):
        segment = plain(self, index)
        flags = segment.supervised.copy()
        flags[[border - 1 for border in segment.borders[1:]]] = False
        return batch_file.replace(segment, supervised=flags)

    monkeypatch.setattr(PreferenceDataset, "__getitem__", other)


def other_prompts(monkeypatch):
    plain = PreferenceDataset.__getitem__

    def other(self, index):
        segment = plain(self, index)
        ids = segment.input_ids.copy()
        ids[1] += 1
        return batch_file.replace(segment, input_ids=ids)

    monkeypatch.setattr(PreferenceDataset, "__getitem__", other)


@pytest.mark.parametrize(
    ("fault", "check"),
    [(swapped_ranks, "ranks"), (unlearned_ends, "answers"), (other_prompts, "prompts")],
)
def test_a_fault_in_the_rows_is_named(fault, check, tmp_path, monkeypatch):
    session = made(tmp_path)
    fault(monkeypatch)
    assert check in failed(mask_of(session))


def test_a_batch_that_swaps_what_was_thought_of_answers_is_found(tmp_path, monkeypatch):
    session = made(tmp_path)
    plain = batch_file.preference_batch

    def other(segments, **how):
        return plain([batch_file.replace(s, ranks=s.ranks[::-1]) for s in segments], **how)

    monkeypatch.setattr(batch_file, "preference_batch", other)
    assert failed(mask_of(session)) == ["batches"]


def gradient_faults(monkeypatch, name):
    if name == "mean instead of sum":
        plain = preferring.sequence_log_probs
        monkeypatch.setattr(
            preferring,
            "sequence_log_probs",
            lambda model, batch, learned: plain(model, batch, learned) / torch.tensor(learned),
        )
    elif name == "pairs swapped":
        plain_numbers = preferring.numbered
        monkeypatch.setattr(preferring, "numbered", lambda batch, device: plain_numbers(batch, device)[::-1])
    else:
        monkeypatch.setattr(preferring, "mean_per_row", lambda losses, batch: losses.sum(0, keepdim=True) / 2)


@pytest.mark.parametrize("name", ["mean instead of sum", "pairs swapped", "half the loss"])
def test_a_wrong_loss_is_found_by_the_gradient(name, tmp_path, monkeypatch):
    session = made(tmp_path)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for parameter in session.loop.parameters().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    assert Gradient().prove(session, session.folder.path).verdict == "holds"
    gradient_faults(monkeypatch, name)
    assert Gradient().prove(session, session.folder.path).verdict == "fails"


def test_rows_that_see_each_other_are_found_in_rewards_too(tmp_path, monkeypatch):
    session = made(tmp_path, stage="reward")
    assert Packing().prove(session, session.folder.path).verdict == "holds"
    from accorda.training import rewarding

    ends = rewarding.ends
    monkeypatch.setattr(rewarding, "ends", lambda batch: torch.clamp(ends(batch) - 1, min=0))
    proof = Packing().prove(session, session.folder.path)
    assert proof.verdict == "fails"
    assert np.isfinite(proof.evidence["difference"])

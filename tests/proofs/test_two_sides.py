"""The proof of mask on rows of encoder-decoders: it holds, and each fault of a side is caught."""

import dataclasses

import numpy as np
import pytest
from tests.proofs.test_mask import PAIRS, failed
from tests.zoo import tiny_tokenizer

from accorda.data.dataset import Dataset
from accorda.data.prepare import prepare
from accorda.data.renderer import Renderer
from accorda.data.sampler import Batches
from accorda.proofs.mask import masked
from accorda.recipe.sections import DataSection

START = 0


@pytest.fixture
def made(tmp_path):
    """Dataset, renderer and section."""
    section = DataSection(train=PAIRS, eval_split=0.0)
    renderer = Renderer(tiny_tokenizer(False), decoder_start=START)
    return prepare(section, renderer, max_length=64, store_folder=tmp_path), renderer, section


@pytest.mark.parametrize("packed", [True, False])
def test_holds(made, packed):
    dataset, renderer, section = made
    batches = Batches(dataset, batch_size=4, micro_tokens=256, packed=packed)
    proof = masked(dataset, renderer, section, batches)
    assert failed(proof) == {}
    (told,) = [entry["reason"] for entry in proof.evidence["checks"] if entry["name"] == "two sides"]
    assert told == f"in {len(PAIRS)} rows the decoder's side is learned behind token 0, and the encoder's is not"


@pytest.mark.parametrize("policy", ["truncate", "truncate_prompt"])
def test_holds_for_rows_that_were_cut(tmp_path, policy):
    section = DataSection(train=[{"prompt": "word " * 40, "completion": "two"}] * 3, eval_split=0.0, overlong=policy)
    renderer = Renderer(tiny_tokenizer(False), decoder_start=START)
    dataset = prepare(section, renderer, max_length=12, store_folder=tmp_path)
    assert len(dataset[0].encoder_ids) == 12
    assert failed(masked(dataset, renderer, section)) == {}


def encoder_learned(segment):
    return {"supervised": np.ones(len(segment), np.bool_)}


def start_learned(segment):
    return {"supervised": np.arange(len(segment)) >= segment.encoder_length}


def another_start(segment):
    ids = segment.input_ids.copy()
    ids[segment.encoder_length] = 7
    return {"input_ids": ids}


def end_not_learned(segment):
    return {"supervised": segment.supervised & (np.arange(len(segment)) < len(segment) - 1)}


def sides_cut_elsewhere(segment):
    return {"encoder_length": segment.encoder_length - 1}


@pytest.mark.parametrize(
    "change", [encoder_learned, start_learned, another_start, end_not_learned, sides_cut_elsewhere]
)
def test_faults_of_a_side(made, change):
    dataset, renderer, section = made

    class Tampered(Dataset):
        def __getitem__(self, index):
            segment = super().__getitem__(index)
            return dataclasses.replace(segment, **change(segment))

    tampered = Tampered(dataset.parts, dataset.spans, dataset.report, two_sides=True)
    assert "two sides" in failed(masked(tampered, renderer, section))


def test_batches_with_another_encoder_side_are_caught(made):
    dataset, renderer, section = made
    batches = Batches(dataset, batch_size=4, micro_tokens=256, packed=False)
    (batch,) = batches.at(0)
    batch.input_ids[0, 0] += 1

    class Fixed(Batches):
        def at(self, step):
            return [batch]

    fixed = Fixed(dataset, batch_size=4, micro_tokens=256, packed=False)
    assert set(failed(masked(dataset, renderer, section, fixed))) == {"batches"}

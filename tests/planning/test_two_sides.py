"""Bills of encoder-decoders: the shapes of real batches, and a rehearsal that comes to what a real pass holds."""

import numpy as np
import pytest
import torch
from tests.planning.test_rehearsal import ADAMW, live_bytes, model_of, real_step
from tests.zoo import ENCODER_DECODERS

from accorda.data.batch import Segment, pack_batch, pad_batch
from accorda.planning.rehearsal import Passes, rehearse
from accorda.planning.workload import Workload
from accorda.training.next_token import NextToken
from accorda.training.precision import Precision

SIDES = ((9, 4), (3, 6), (12, 3))
FP32 = Precision("fp32", "cpu")


@pytest.mark.parametrize("packed", [True, False])
def test_a_workload_is_the_shapes_of_a_batch(packed):
    rows = [
        Segment(index, np.full(sum(sides), 5, np.int32), np.arange(sum(sides)) > sides[0], "", 0, sides[0])
        for index, sides in enumerate(SIDES)
    ]
    batch = pack_batch(rows) if packed else pad_batch(rows, 0)
    work = Workload.of(batch)
    assert work == Workload((13, 9, 15), (3, 5, 2), packed, (9, 3, 12))
    made = work.batch()
    assert batch.decoder_input_ids is not None
    assert made.decoder_input_ids is not None
    assert made.input_ids.shape == batch.input_ids.shape
    assert made.decoder_input_ids.shape == batch.decoder_input_ids.shape
    assert made.packing == batch.packing
    assert made.num_supervised == batch.num_supervised
    assert work.positions == batch.input_ids.numel() + batch.decoder_input_ids.numel()


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("architecture", ENCODER_DECODERS)
def test_a_rehearsed_step_holds_what_a_real_one_holds(architecture, packed):
    work = Workload((13, 9, 15), (3, 5, 2), packed, (9, 3, 12))
    hollow = rehearse(model_of(architecture, meta=True), NextToken, Passes((work,)), ADAMW, FP32)
    real = real_step(model_of(architecture), work, FP32)
    assert live_bytes(hollow.ledger.events, hollow.ledger.sizes) == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize("architecture", ENCODER_DECODERS)
def test_answers_fill_the_caches_of_both_attentions(architecture):
    work = Workload((13, 9), (3, 5), False, (9, 3))
    with torch.random.fork_rng(devices=[]):
        found = rehearse(model_of(architecture, meta=True), NextToken, Passes((work,), work, (2, 9, 6)), ADAMW, FP32)
    assert [stretch.name for stretch in found.stretches] == ["start", "evaluation", "training", "training", "answers"]
    cached = [found.ledger.sizes[number] for number, kind in found.kinds.items() if kind == "key/value cache"]
    width, rows = 32 * 4, 2  # bytes of one position in one layer
    assert rows * 9 * width in cached  # keys of the encoder's states
    assert max(cached) == rows * 9 * width

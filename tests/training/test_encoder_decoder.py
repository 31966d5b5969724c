"""The objective on encoder-decoders: transformers' own loss of `model(input_ids, labels)`, in any grouping of rows."""

import numpy as np
import pytest
import torch
import transformers as hf
from tests.zoo import ENCODER_DECODERS, VOCABULARY, make, randomise

from accorda.data.batch import Segment, pack_batch, pad_batch
from accorda.methods.checkpointing import enable_checkpointing
from accorda.methods.install import freeze, install, trainable
from accorda.methods.registry import read
from accorda.models.attention import use_attention
from accorda.models.decoder_start import decoder_start
from accorda.training.next_token import NextToken, next_token_log_probs

SIDES = ((9, 4), (3, 6), (12, 2), (5, 5))
OTHERS = {
    "mt5": (hf.MT5ForConditionalGeneration, hf.MT5Config, {"d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}),
    "mbart": (hf.MBartForConditionalGeneration, hf.MBartConfig, {"decoder_start_token_id": 2, "scale_embedding": True}),
    "pegasus": (hf.PegasusForConditionalGeneration, hf.PegasusConfig, {"decoder_start_token_id": 0}),
    "marian": (hf.MarianMTModel, hf.MarianConfig, {"decoder_start_token_id": 0}),
}
LAYERS = {"encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "dropout": 0.0}
LAYERS |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_position_embeddings": 64}


def made(name: str):
    """A tiny model with our attention; its kin beside those of the zoo."""
    if name in ENCODER_DECODERS:
        model = make(name)
    else:
        cls, config, more = OTHERS[name]
        shape = {"d_model": 32, "dropout_rate": 0.0} if name == "mt5" else {"d_model": 32, **LAYERS}
        ids = {"vocab_size": VOCABULARY, "pad_token_id": 0, "eos_token_id": 2}
        model = cls(config(**shape, **ids, **more)).eval()
        randomise(model)
    assert use_attention(model) is None
    return model


def segments(model) -> list[Segment]:
    """Rows of random ids, each answer ended by the end of sequence."""
    draw, start = np.random.default_rng(0), decoder_start(model)
    rows = []
    for index, (read_, written) in enumerate(SIDES):
        ids = [*draw.integers(3, VOCABULARY, read_), start, *draw.integers(3, VOCABULARY, written - 1), 2]
        rows.append(Segment(index, np.array(ids, np.int32), np.arange(len(ids)) > read_, "rows", index + 1, read_))
    return rows


def theirs(model, rows: list[Segment]) -> torch.Tensor:
    """The summed loss as transformers forms it of labels, which the model shifts by its own rule."""
    length, read_ = max(len(row.decoder_ids) for row in rows) - 1, max(len(row.encoder_ids) for row in rows)
    labels, ids = torch.full((len(rows), length), -100), torch.zeros(len(rows), read_, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for line, row in enumerate(rows):
        labels[line, : len(row.decoder_ids) - 1] = torch.from_numpy(row.decoder_ids[1:].astype(np.int64))
        ids[line, : len(row.encoder_ids)] = torch.from_numpy(row.encoder_ids.astype(np.int64))
        mask[line, : len(row.encoder_ids)] = 1
    return model(input_ids=ids, attention_mask=mask, labels=labels).loss * (labels != -100).sum()


@pytest.mark.parametrize("name", [*ENCODER_DECODERS, *OTHERS])
def test_the_loss_is_that_of_transformers(name):
    model = made(name)
    rows, objective = segments(model), NextToken(model)
    alone = sum(float(theirs(model, [row]).detach()) for row in rows)
    for batch in (pad_batch(rows, 0), pad_batch(rows, 7), pack_batch(rows)):
        assert float(objective(model, batch).detach()) == pytest.approx(alone, rel=1e-6)
        assert -float(next_token_log_probs(model, batch).sum()) == pytest.approx(alone, rel=1e-6)
    assert float(theirs(model, rows).detach()) == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_any_split_gives_the_gradient_of_transformers(name, checkpointing):
    model = made(name)
    install(freeze(model), read({"name": "lora", "rank": 2}))
    generator = torch.Generator().manual_seed(1)
    for parameter in trainable(model).values():
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    rows, parameters = segments(model), list(trainable(model).values())
    wanted = torch.autograd.grad(theirs(model, rows), parameters)
    if checkpointing:
        enable_checkpointing(model)
        model.train()
    objective = NextToken(model)
    for batches in (
        [pad_batch(rows, 0)],
        [pad_batch(rows[:1], 0), pad_batch(rows[1:], 0)],
        [pack_batch(rows[:2]), pack_batch(rows[2:])],
        [pack_batch([row]) for row in rows],
    ):
        found = torch.autograd.grad(sum(objective(model, batch) for batch in batches), parameters)
        apart = torch.cat([(one - other).flatten() for one, other in zip(found, wanted, strict=True)])
        assert apart.norm() <= 1e-4 * torch.cat([gradient.flatten() for gradient in wanted]).norm()

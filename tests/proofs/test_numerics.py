import numpy as np
import pytest
import torch
from tests.proofs.made import Rows
from tests.zoo import make
from torch import nn

from accorda.data.batch import Segment, pack_batch
from accorda.models.attention import use_attention
from accorda.proofs.numerics import alone, few_rows, in_fp32, largest, no_dropout
from accorda.proofs.tensors import checksum
from accorda.training.next_token import next_token_log_probs


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_fp32_computes_wide_and_leaves_every_bit(dtype):
    model = make("llama").to(dtype).train()
    before = {name: checksum(tensor) for name, tensor in model.state_dict().items()}
    with in_fp32(model):
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert not model.training
        assert model(input_ids=torch.tensor([[3, 4]])).logits.dtype == torch.float32
    assert {name: checksum(tensor) for name, tensor in model.state_dict().items()} == before
    assert model.training


def test_no_dropout():
    model = make("gpt2", attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5).train()
    ids = torch.tensor([[3, 4, 5]])
    assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    with no_dropout(model):
        assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


@torch.no_grad()
def test_together_and_alone_are_the_same_tokens_in_the_same_order():
    model, rows = make("qwen2").eval(), Rows(3)
    use_attention(model)
    segments = [rows[index] for index in range(3)]
    theirs = alone(model, segments)
    assert len(theirs) == sum(int(s.supervised[1:].sum()) for s in segments)
    scores = torch.log_softmax(model(input_ids=torch.tensor(rows[1].input_ids[None].astype(np.int64))).logits[0], -1)
    first = int(rows[0].supervised[1:].sum())
    at = int(np.flatnonzero(rows[1].supervised)[0])
    assert theirs[first] == scores[at - 1, int(rows[1].input_ids[at])]
    torch.testing.assert_close(next_token_log_probs(model, pack_batch(segments)), theirs)


@torch.no_grad()
def test_a_first_token_is_no_target():
    ids = np.array([3, 4, 5], np.int32)
    segment = Segment(0, ids, np.ones(3, np.bool_), "", 0)
    assert len(alone(make("llama"), [segment])) == 2


def test_largest_sees_what_is_not_a_number():
    assert largest(torch.tensor([1.0, -3.0])) == 3
    assert largest(torch.tensor([0.0, float("nan")])) == float("inf")
    assert largest(torch.zeros(0)) == 0


def test_few_rows_are_short_and_supervised():
    def row(index, length, supervised=True):
        return Segment(index, np.zeros(length, np.int32), np.arange(length) >= (1 if supervised else length), "", 0)

    rows = [row(0, 9), row(1, 2, supervised=False), row(2, 5), row(3, 4), row(4, 7), row(5, 3000), row(6, 8)]
    assert [s.index for s in few_rows(rows)] == [2, 3, 4, 6]
    assert [s.index for s in few_rows([row(0, 3000), row(1, 3000), row(2, 3000)])] == [0, 1]
    assert few_rows([row(0, 1)]) == []


def test_no_dropout_restores_modules():
    layer = nn.Dropout(0.25)
    with no_dropout(layer):
        assert layer.p == 0
    assert layer.p == 0.25

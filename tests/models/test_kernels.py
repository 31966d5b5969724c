"""Each kernel against attention written as loops over queries and keys."""

import math

import pytest
import torch

from accorda.models import short, varlen
from accorda.models.kernels import Prefix, Scoring, attend, attend_segments, visible
from accorda.models.packing import Packing

CPU = torch.device("cpu")
SETTINGS = {
    "causal": Scoring(causal=True),
    "full": Scoring(causal=False, scaling=0.3),
    "window": Scoring(causal=True, window=3),
    "softcap": Scoring(causal=True, softcap=1.5, scaling=0.7),
    "softcap and window": Scoring(causal=True, softcap=0.8, window=2),
}


def draw(num_queries: int = 9, num_keys: int = 9, heads: int = 4, key_heads: int = 2, width: int = 8):
    generator = torch.Generator().manual_seed(0)
    shapes = ((heads, num_queries), (key_heads, num_keys), (key_heads, num_keys))
    return [torch.randn(1, *shape, width, generator=generator) for shape in shapes]


def by_hand(query, key, value, scoring, sees, bias=None):
    """softmax(scores) @ value, one query at a time; `sees(i, j)` tells whether query i sees key j."""
    out = torch.zeros_like(query)
    group = query.shape[1] // key.shape[1]
    for head in range(query.shape[1]):
        for i in range(query.shape[2]):
            keys = [j for j in range(key.shape[2]) if sees(i, j)]
            scores = (
                key[0, head // group, keys] @ query[0, head, i] * (scoring.scaling or 1 / math.sqrt(query.shape[3]))
            )
            if scoring.softcap:
                scores = scoring.softcap * torch.tanh(scores / scoring.softcap)
            if bias is not None:
                scores = scores + bias[0, head, i, keys]
            out[0, head, i] = scores.softmax(0) @ value[0, head // group, keys]
    return out


def seen(scoring):
    return lambda i, j: (j <= i or not scoring.causal) and (not scoring.window or i - j < scoring.window)


@pytest.mark.parametrize("name", SETTINGS)
def test_attend_is_the_formula(name):
    scoring, tensors = SETTINGS[name], draw()
    torch.testing.assert_close(attend(*tensors, scoring), by_hand(*tensors, scoring, seen(scoring)))


@pytest.mark.parametrize("name", SETTINGS)
def test_packed_rows_stay_within_their_segments(name):
    scoring, tensors, packing = SETTINGS[name], draw(), Packing((0, 5, 6, 9))
    within = seen(scoring)
    segment = packing.segment_ids("decoder", CPU)
    expected = by_hand(*tensors, scoring, lambda i, j: bool(segment[i] == segment[j]) and within(i, j))
    got = attend_segments(*tensors, scoring, borders=(packing.borders, packing.borders))
    torch.testing.assert_close(got, expected)


def test_varlen_is_for_cuda():
    assert not varlen.runs_here(torch.zeros(1, 2, 3, 64, dtype=torch.bfloat16), Scoring(causal=True))


@pytest.mark.parametrize("name", ["causal", "full", "window"])
@pytest.mark.parametrize("gqa", [True, False])
def test_varlen_asks_for_what_the_reference_computes(name, gqa, monkeypatch):
    """Its arguments, read by a function that computes attention from them query by query."""
    scoring, packing = SETTINGS[name], Packing((0, 2, 5), (0, 4, 7)) if name == "full" else Packing((0, 5, 6, 9))
    tensors = draw(num_queries=5, num_keys=7) if name == "full" else draw()
    sides = ("decoder", "encoder") if name == "full" else ("decoder", "decoder")

    def plain(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, **given):
        scale, window_size = given["scale"], given["window_size"]
        assert given.get("enable_gqa", False) == (key.shape[1] != query.shape[1]), (key.shape, query.shape)
        before, after = (10**6 if side < 0 else side for side in window_size)
        ends = [torch.tensor(borders).diff().max().item() for borders in (cu_seq_q.tolist(), cu_seq_k.tolist())]
        assert [max_q, max_k] == ends

        def sees(i, j):
            queries, keys = (torch.bucketize(at, cu[1:], right=True) for at, cu in ((i, cu_seq_q), (j, cu_seq_k)))
            apart = j - cu_seq_k[keys] - (i - cu_seq_q[queries])
            return bool(queries == keys) and -before <= apart <= after

        heads = (x.transpose(0, 1)[None] for x in (query, key, value))
        return by_hand(*heads, Scoring(causal=False, scaling=scale), sees)[0].transpose(0, 1)

    with_gqa = frozenset({"scale", "window_size"} | ({"enable_gqa"} if gqa else set()))
    monkeypatch.setattr(varlen, "_parameters", lambda: with_gqa)
    monkeypatch.setattr(varlen.varlen, "varlen_attn", plain)
    got = varlen.attend_varlen(*tensors, scoring, packing=packing, sides=sides)
    expected = attend_segments(*tensors, scoring, borders=tuple(packing.of(side) for side in sides))
    torch.testing.assert_close(got, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("name", SETTINGS)
def test_varlen_on_cuda_equals_segments(name):
    scoring, packing = SETTINGS[name], Packing((0, 40, 41, 300))
    tensors = [tensor.cuda().bfloat16().requires_grad_() for tensor in draw(300, 300, width=32)]
    assert varlen.runs_here(tensors[0], scoring) == (scoring.softcap is None)
    assert not varlen.runs_here(tensors[0].float(), scoring)
    if scoring.softcap is not None:
        return
    got = varlen.attend_varlen(*tensors, scoring, packing=packing, sides=("decoder", "decoder"))
    wide = [tensor.detach().float().requires_grad_() for tensor in tensors]
    expected = attend_segments(*wide, scoring, borders=(packing.borders, packing.borders))
    torch.testing.assert_close(got.float(), expected, atol=2e-2, rtol=2e-2)
    grads = (torch.autograd.grad(y.float().square().sum(), x) for y, x in ((got, tensors), (expected, wide)))
    for mine, reference in zip(*grads, strict=True):
        scale = float(reference.abs().max())
        torch.testing.assert_close(mine.float(), reference, atol=3e-2 * scale, rtol=0)


def test_bias_is_added_where_visible():
    query, key, value = draw(heads=2)
    bias = torch.randn(1, 2, 9, 9, generator=torch.Generator().manual_seed(4))
    scoring = Scoring(causal=True)
    got = attend(query, key, value, scoring, bias=bias)
    torch.testing.assert_close(got, by_hand(query, key, value, scoring, seen(scoring), bias))
    packed = attend_segments(query, key, value, scoring, borders=((0, 4, 9), (0, 4, 9)), bias=bias)
    torch.testing.assert_close(packed[:, :, :4], got[:, :, :4])


def test_bias_meets_a_boolean_and_an_added_mask():
    query, key, value = draw(heads=2)
    bias = torch.randn(1, 2, 9, 9, generator=torch.Generator().manual_seed(4))
    scoring = Scoring(causal=True)
    mask = visible(9, 9, scoring, CPU)
    added = torch.zeros(1, 1, 9, 9).masked_fill(~mask, -1e9)
    expected = attend(query, key, value, scoring, bias=bias)
    torch.testing.assert_close(attend(query, key, value, scoring, bias=bias, mask=mask), expected)
    torch.testing.assert_close(attend(query, key, value, scoring, bias=bias, mask=added), expected)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_query_sees_the_prefix(name):
    scoring, (query, key, value) = SETTINGS[name], draw()
    prefix = Prefix(key[0, :, :2] + 1, value[0, :, :2] - 1)
    got = attend(query, key, value, scoring, prefix=prefix)
    long = [torch.cat([p[None], x], dim=2) for p, x in zip(prefix[:2], (key, value), strict=True)]
    within = seen(scoring)
    torch.testing.assert_close(got, by_hand(query, *long, scoring, lambda i, j: j < 2 or within(i, j - 2)))


@pytest.mark.parametrize("mask", ["none", "boolean", "added"])
@pytest.mark.parametrize("causal", [True, False])
def test_each_row_sees_its_own_prefix_or_none(causal, mask):
    scoring, (query, key, value) = Scoring(causal=causal), draw()
    query, key, value = (torch.cat([x, x + 0.1, x - 0.1]) for x in (query, key, value))
    keys, values = torch.randn(2, 3, key.shape[1], 2, key.shape[3], generator=torch.Generator().manual_seed(5))
    seen = torch.tensor([[True, True], [False, True], [False, False]])
    own = visible(9, 9, scoring, CPU)
    masks = {"none": None, "boolean": own, "added": torch.zeros(1, 1, 9, 9).masked_fill(~own, -1e9)}
    got = attend(query, key, value, scoring, mask=masks[mask], prefix=Prefix(keys, values, seen))
    for row, hidden in enumerate((0, 1, 2)):
        one = slice(row, row + 1)
        own_prefix = Prefix(keys[one, :, hidden:], values[one, :, hidden:])
        alone = attend(query[one], key[one], value[one], scoring, prefix=own_prefix if hidden < 2 else None)
        torch.testing.assert_close(got[one], alone)


def test_late_queries_stand_at_the_last_key():
    scoring, (query, key, value) = Scoring(causal=True), draw(num_queries=3)
    got = attend(query, key, value, scoring)
    torch.testing.assert_close(got, by_hand(query, key, value, scoring, lambda i, j: j <= i + 6))


@pytest.mark.parametrize("softcap", [None, 50.0])
def test_dropout_drops_weights_and_keeps_their_mean(softcap):
    torch.manual_seed(0)
    query, key = torch.zeros(2, 1, 2, 400, 8)
    out = attend(query, key, torch.ones_like(key), Scoring(causal=False, dropout=0.5, softcap=softcap), mask=None)
    assert out.std() > 0.02
    assert abs(out.mean() - 1) < 0.02


def test_a_bidirectional_window_is_refused():
    with pytest.raises(ValueError, match="bidirectional window"):
        visible(3, 3, Scoring(causal=False, window=2), CPU)


SHORT = {
    "causal": Scoring(causal=True),
    "scaled": Scoring(causal=True, scaling=0.3, window=9),
    "full": Scoring(causal=False),
}


@pytest.mark.parametrize("name", SHORT)
def test_short_segments_on_a_cpu_equal_the_reference_in_double_precision(name):
    """Forward and backward as near to the truth as the fused kernel is."""
    scoring, borders = SHORT[name], ((0, 5, 6, 9), (0, 5, 6, 9))
    if not scoring.causal:
        borders = ((0, 5, 6, 9), (0, 2, 6, 9))
    narrow = [tensor.bfloat16().requires_grad_() for tensor in draw()]
    exact = [tensor.detach().double().requires_grad_() for tensor in narrow]
    assert short.runs_here(narrow[0], scoring, borders)
    got = short.attend_short(*narrow, scoring, borders=borders)
    expected = attend_segments(*exact, scoring, borders=borders)
    torch.testing.assert_close(got.double(), expected, atol=2e-2, rtol=2e-2)
    assert got.transpose(1, 2).is_contiguous()
    weight = torch.randn(got.shape, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad(got, narrow, weight.bfloat16())
    wanted = torch.autograd.grad(expected, exact, weight.bfloat16().double())
    for mine, reference in zip(found, wanted, strict=True):
        assert float((mine.double() - reference).norm() / reference.norm()) < 1e-2


def test_short_segments_leave_the_rest_to_others():
    query, one = torch.zeros(1, 4, 9, 8, dtype=torch.bfloat16), ((0, 9), (0, 9))
    assert short.runs_here(query, Scoring(causal=True), one)
    assert not short.runs_here(query.float(), Scoring(causal=True), one)
    assert not short.runs_here(query, Scoring(causal=True), ((0, 9), (0, 4)))
    for other in (Scoring(causal=True, window=8), Scoring(causal=True, dropout=0.1), Scoring(causal=True, softcap=1.0)):
        assert not short.runs_here(query, other, one)
    long = 2048
    assert not short.runs_here(query, Scoring(causal=True), ((0, long), (0, long)))

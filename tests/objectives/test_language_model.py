"""The chunked loss against the whole logits and torch's own cross-entropy."""

import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from accorda.kernels import softmax_loss
from accorda.objectives.language_model import (
    ENOUGH_ROWS,
    LOGITS_AT_ONCE,
    LOGITS_ON_GPU,
    MOST_LOGITS,
    Ahead,
    chunk_size,
    chunked_log_probs,
    chunked_loss,
    log_probs,
)
from accorda.planning.ledger import Ledger

N, D, V, RANK = 23, 8, 31, 2


class SoftCappedHead(nn.Module):
    """A head with a bias, a low-rank adapter and a cap: everything real heads add to one product."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.linear = nn.Linear(D, V, dtype=dtype)
        self.lora_A = nn.Parameter(torch.randn(RANK, D, dtype=dtype))
        self.lora_B = nn.Parameter(torch.randn(V, RANK, dtype=dtype))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return 3 * torch.tanh((self.linear(hidden) + hidden @ self.lora_A.T @ self.lora_B.T) / 3)


def problem(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, SoftCappedHead]:
    torch.manual_seed(3)
    hidden = torch.randn(N, D, dtype=dtype, requires_grad=True)
    return hidden, torch.randint(V, (N,)), SoftCappedHead(dtype)


def naive(hidden: torch.Tensor, labels: torch.Tensor, head: nn.Module) -> torch.Tensor:
    return F.cross_entropy(head(hidden).float(), labels, reduction="sum")


def gradients(loss: torch.Tensor, *tensors: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, tensors))


@pytest.mark.parametrize("chunk", [1, 5, N, 1000])
def test_loss_and_every_gradient_equal_the_naive_ones(chunk: int) -> None:
    hidden, labels, head = problem()
    parameters = list(head.parameters())
    loss = chunked_loss(hidden, labels, head, parameters, chunk) / 7
    expected = naive(hidden, labels, head) / 7
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    for got, want in zip(gradients(loss, hidden, *parameters), gradients(expected, hidden, *parameters), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


def test_gradcheck_in_double_precision() -> None:
    hidden, labels, head = problem(torch.float64)
    parameters = list(head.parameters())
    assert torch.autograd.gradcheck(lambda h, *p: chunked_loss(h, labels, head, p, 4), (hidden, *parameters))


def test_a_frozen_head_gets_no_gradient_and_the_hidden_state_the_same_one() -> None:
    hidden, labels, head = problem()
    whole = gradients(naive(hidden, labels, head), hidden)[0]
    head.requires_grad_(False)
    chunked_loss(hidden, labels, head, list(head.parameters()), 6).backward()
    torch.testing.assert_close(hidden.grad, whole, rtol=1e-5, atol=1e-6)
    assert all(p.grad is None for p in head.parameters())


def test_a_head_that_trains_on_a_hidden_state_that_does_not() -> None:
    hidden, labels, head = problem()
    want = gradients(naive(hidden.detach(), labels, head), head.lora_A)[0]
    chunked_loss(hidden.detach(), labels, head, [head.lora_A], 6).backward()
    torch.testing.assert_close(head.lora_A.grad, want, rtol=1e-5, atol=1e-6)


def test_a_tied_head_adds_to_the_gradient_of_the_embedding() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(V, D))
    ids, labels = torch.randint(V, (N,)), torch.randint(V, (N,))

    def tied(hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ weight.T

    want = gradients(F.cross_entropy(tied(torch.tanh(weight[ids])), labels, reduction="sum"), weight)[0]
    chunked_loss(torch.tanh(weight[ids]), labels, tied, [weight], 4).backward()
    torch.testing.assert_close(weight.grad, want, rtol=1e-5, atol=1e-6)


def test_the_full_logits_never_exist_and_the_head_runs_once_per_chunk() -> None:
    hidden, labels, head = problem()
    seen: list[int] = []

    def watched(part: torch.Tensor) -> torch.Tensor:
        seen.append(len(part))
        return head(part)

    chunked_loss(hidden, labels, watched, list(head.parameters()), 10).backward()
    assert seen == [3, 10, 10]


def test_without_grad_mode_only_the_loss_is_formed() -> None:
    hidden, labels, head = problem()

    def no_graph(part: torch.Tensor) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        return head(part)

    with torch.no_grad():
        loss = chunked_loss(hidden, labels, no_graph, list(head.parameters()), 4)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, naive(hidden, labels, head).detach(), rtol=1e-6, atol=0)


def test_softmax_is_in_fp32_for_a_bf16_head() -> None:
    hidden, labels, head = problem(torch.bfloat16)
    loss = chunked_loss(hidden, labels, head, list(head.parameters()), N)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, naive(hidden, labels, head), rtol=1e-6, atol=0)
    assert gradients(loss, hidden)[0].dtype == torch.bfloat16


def test_under_autocast_gradients_are_those_of_autocast() -> None:
    hidden, labels, head = problem()
    parameters = list(head.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        expected = naive(hidden, labels, head)
    with torch.autocast("cpu", torch.bfloat16):
        loss = chunked_loss(hidden, labels, head, parameters, 10)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    for got, want in zip(gradients(loss, hidden, *parameters), gradients(expected, hidden, *parameters), strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, want, rtol=0.05, atol=0.05)


def test_extreme_logits_stay_finite() -> None:
    hidden = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = chunked_loss(hidden, torch.tensor([1]), lambda h: h)
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert hidden.grad is not None
    assert hidden.grad.tolist() == [[1.0, -1.0, 0.0]]


def test_no_positions_give_zero_and_zero_gradients() -> None:
    _, _, head = problem()
    hidden = torch.zeros(0, D, requires_grad=True)
    loss = chunked_loss(hidden, torch.zeros(0, dtype=torch.long), head, [head.lora_A])
    loss.backward()
    assert loss.item() == 0
    assert head.lora_A.grad is not None
    assert not head.lora_A.grad.any()
    assert chunked_log_probs(hidden, torch.zeros(0, dtype=torch.long), head).shape == (0,)


def test_log_probs_of_each_token() -> None:
    hidden, labels, head = problem()
    want = -F.cross_entropy(head(hidden), labels, reduction="none")
    torch.testing.assert_close(log_probs(head(hidden), labels), want)
    torch.testing.assert_close(chunked_log_probs(hidden, labels, head, 7), want.detach(), rtol=1e-5, atol=1e-6)
    assert log_probs(head(hidden)[None], labels[None]).shape == (1, N)


def test_a_second_derivative_is_refused() -> None:
    hidden, labels, head = problem()
    with pytest.raises(RuntimeError, match="once only"):
        torch.autograd.grad(chunked_loss(hidden, labels, head, list(head.parameters())), hidden, create_graph=True)


def test_lengths_must_agree() -> None:
    hidden, labels, head = problem()
    with pytest.raises(ValueError, match="23 hidden states for 22 labels"):
        chunked_loss(hidden, labels[:-1], head, list(head.parameters()))


def test_chunk_size_bounds_the_logits() -> None:
    assert chunk_size(2 * MOST_LOGITS) == 1
    assert chunk_size(512) * 512 == LOGITS_AT_ONCE
    assert chunk_size(50304) == ENOUGH_ROWS
    assert chunk_size(128_256, "cuda") == LOGITS_ON_GPU // 128_256 > 1000
    assert chunk_size(256_000) * 256_000 <= MOST_LOGITS < (chunk_size(256_000) + 1) * 256_000


@pytest.mark.parametrize("scores", [1, 3 * V, 1000 * V])
def test_pieces_of_the_softmax_change_nothing(monkeypatch: pytest.MonkeyPatch, scores: int) -> None:
    hidden, labels, head = problem(torch.float64)
    want = naive(hidden, labels, head)
    monkeypatch.setattr(softmax_loss, "SCORES_AT_ONCE", scores)
    loss = chunked_loss(hidden, labels, head, list(head.parameters()), 7)
    torch.testing.assert_close(loss, want.double(), rtol=1e-6, atol=0)
    for got, expected in zip(gradients(loss, hidden), gradients(want, hidden), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_logits_far_apart_leave_the_loss_finite() -> None:
    hidden, labels = torch.tensor([[3e4], [-3e4]], requires_grad=True), torch.tensor([0, 0])
    loss = chunked_loss(hidden, labels, lambda h: torch.cat([h, -h], -1))
    assert loss.item() == pytest.approx(6e4)
    loss.backward()
    assert hidden.grad is not None
    assert hidden.grad.flatten().tolist() == [0.0, -2.0]


@pytest.mark.parametrize("number", [1, 6, 7, 12, 13])
def test_a_head_ahead_runs_once_on_the_last_chunk_and_changes_nothing(number):
    """Chunks of six: losses and gradients are those of a head that runs again, what it made is let go at once."""
    torch.manual_seed(0)
    hidden, labels = torch.randn(number, 5, requires_grad=True), torch.randint(9, (number,))
    weights, layer, runs = torch.randn(number), torch.nn.Linear(5, 9), []

    def head(some):
        runs.append(len(some))
        return layer(some)

    def gradients(of):
        loss = chunked_loss(hidden, labels, of, list(layer.parameters()), 6, weights)
        return [loss.detach(), *torch.autograd.grad(loss, [hidden, *layer.parameters()])]

    expected, alone = gradients(head), len(runs)
    ahead = Ahead(head)
    found = chunked_log_probs(hidden, labels, ahead, 6)
    assert torch.equal(found, chunked_log_probs(hidden, labels, layer, 6))
    made = weakref.ref(ahead.made[1])
    runs.clear()
    for one, other in zip(gradients(ahead), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
    assert len(runs) == alone - 1
    assert made() is None
    assert ahead.take() is None
    torch.testing.assert_close(gradients(ahead)[1], expected[1])  # and it runs on all of them again


def most_at_once(ledger: Ledger, size: int) -> int:
    """How many tensors of at least so many bytes there were at the same time."""
    alive, most = set[int](), 0
    for number, came in ledger.events:
        if came is None:
            alive.discard(number)
        elif came >= size:
            alive.add(number)
        most = max(most, len(alive))
    return most


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("views", [False, True])
def test_nothing_as_large_as_a_chunks_logits_stands_beside_them(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, views: bool
) -> None:
    """Chunks of six of 23 positions, softmax on one row at a time: neither a gradient's copy nor the last chunk's."""
    monkeypatch.setattr(softmax_loss, "SCORES_AT_ONCE", 1)
    torch.manual_seed(0)
    hidden, labels = torch.randn(N, 2, dtype=dtype, requires_grad=True), torch.randint(401, (N,))
    layer = nn.Linear(2, 401, bias=False, dtype=dtype).requires_grad_(False)

    def head(some: torch.Tensor) -> torch.Tensor:
        return layer(some[None]).reshape(len(some), 401) if views else layer(some)

    size = 5 * 401 * dtype.itemsize  # the last chunk has five
    with torch.no_grad(), Ledger() as ledger:
        chunked_log_probs(hidden, labels, head, 6)
    assert most_at_once(ledger, size) == 1
    with Ledger() as ledger:
        chunked_loss(hidden, labels, head, (), 6)
    assert most_at_once(ledger, size) == 1


def test_a_head_that_wants_its_logits_on_the_way_back_is_refused() -> None:
    hidden, labels, head = problem()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        chunked_loss(hidden, labels, lambda some: torch.tanh(head(some)))

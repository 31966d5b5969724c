"""Next-token cross-entropy over chosen positions, without ever holding the logits of all of them.

With a vocabulary of 150 thousand the logits of one long batch are larger than the model. Here the head runs on some
positions at a time and the gradient with respect to the hidden state (and to whatever trains inside the head) is formed
on the way,

    loss = -sum_n log softmax(f(h_n))[label_n],    d loss / d f(h_n) = softmax(f(h_n)) - onehot(label_n),

so that one chunk's logits are gone before the next chunk's are made. The softmax is taken in fp32 whatever the head
computes in, on so few rows at a time that they stay in the processor's cache.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from accorda.kernels.softmax_loss import in_cache, softmax_loss_, wide

LOGITS_AT_ONCE = 2**23  # 17 MB in bf16; more only where ENOUGH_ROWS have more
MOST_LOGITS = 2**25
ENOUGH_ROWS = 256  # for full matrix throughput on a CPU
LOGITS_ON_GPU = 2**27  # 268 MB in bf16: fewer rows would read the head's weights too often

Head = Callable[[Tensor], Tensor]
T = TypeVar("T")


def chunk_size(vocabulary: int, device_type: str = "cpu") -> int:
    """How many positions the head takes at once: 8 million logits, or enough for speed and at most 34 million.

    On CUDA 134 million, which are a small part of what such a model takes.
    """
    if device_type == "cuda":
        return max(1, LOGITS_ON_GPU // vocabulary)
    return max(1, min(max(ENOUGH_ROWS, LOGITS_AT_ONCE // vocabulary), MOST_LOGITS // vocabulary))


def log_probs(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of each label in nats: logits (..., V), labels (...) -> (...), in fp32 or wider.

    Labels must be token ids; positions that are no target are cut out before.
    """
    return torch.log_softmax(wide(logits), -1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


class Ahead:
    """A head that keeps the last logits (n, V) it made, with their graph, for a loss that comes back to them.

    Where log-probabilities are needed before it is known what is learned from them, the head would run twice on every
    chunk. The last one's logits can wait: a chunk's exist at that time in any case.
    """

    def __init__(self, head: Head):
        self.head = head
        self.made: tuple[Tensor, Tensor] | None = None

    def __call__(self, hidden: Tensor) -> Tensor:
        """The logits, without their graph."""
        self.made = None
        self.made = with_graph(self.head, hidden)
        return self.made[1].detach()

    def take(self) -> tuple[Tensor, Tensor] | None:
        """What the logits are a function of, (n, D), and the logits; once."""
        made, self.made = self.made, None
        return made


def with_graph(head: Head, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden states (n, D) as a leaf, and its logits (n, V)."""
    with torch.enable_grad():
        leaf = hidden.detach().requires_grad_()
        return leaf, head(leaf)


def chunked_loss(
    hidden_ND: Tensor,
    labels_N: Tensor,
    head: Head,
    parameters: Sequence[Tensor] = (),
    chunk: int = 1024,
    weights_N: Tensor | None = None,
) -> Tensor:
    """Summed cross-entropy in nats of the labels (N,) that the hidden states (N, D) predict: a scalar, fp32 or wider.

    `head` maps (n, D) to logits (n, V) and is called once per chunk of at most `chunk` positions; one that is `Ahead`,
    which has just run on these positions, not again on the last chunk. Logits are written over, so they have to be new
    numbers, which the head does not want on its way back (a cap that ends in a product with a scale does not).
    `parameters` are all the tensors inside `head` that train: one left out would get no gradient. Differentiable once;
    without grad mode, or where nothing wants a gradient, only the loss is computed. `weights_N`: what each label's
    share of the sum is multiplied by; no gradient goes there.
    """
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (hidden_ND, *parameters)):
        return _ChunkedLoss.apply(hidden_ND, labels_N, weights_N, head, chunk, *parameters)
    found = chunked_log_probs(hidden_ND, labels_N, head, chunk)
    return -(found if weights_N is None else found * weights_N).sum()


@torch.no_grad()
def chunked_log_probs(hidden_ND: Tensor, labels_N: Tensor, head: Head, chunk: int = 1024) -> Tensor:
    """Log-probability in nats of each label (N,) in fp32 or wider, chunk by chunk and without a graph."""
    parts = by_chunk(log_probs, hidden_ND, labels_N, head, chunk)
    return torch.cat(parts) if parts else wide(hidden_ND.new_zeros(0))


def by_chunk(of: Callable[[Tensor, Tensor], T], hidden_ND: Tensor, labels_N: Tensor, head: Head, chunk: int) -> list[T]:
    """A function of logits (n, V) and labels (n,), few rows at a time and in order; none for an empty batch."""
    chunks = _chunks(hidden_ND, labels_N, None, chunk)
    return [piece for part in chunks for piece in _in_pieces(of, head(part.hidden), part.labels)]


def _in_pieces(of: Callable[[Tensor, Tensor], T], logits: Tensor, labels: Tensor) -> list[T]:
    """When it returns nobody holds the logits: a loop over the pieces would, while the next chunk's are made."""
    return [of(*some) for some in zip(*in_cache(logits, labels), strict=True)]


class _ChunkedLoss(torch.autograd.Function):
    """Forms the gradients in `forward`, where the logits are; `backward` only scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        labels_N: Tensor,
        weights_N: Tensor | None,
        head: Head,
        chunk: int,
        *parameters: Tensor,
    ) -> Tensor:
        trained = [p for p in parameters if p.requires_grad]
        total = wide(hidden_ND.new_zeros(()))
        towards_hidden = torch.empty_like(hidden_ND)
        towards_trained = [torch.zeros_like(p) for p in trained]
        made = None
        if isinstance(head, Ahead):
            made, head = head.take(), head.head
        parts = list(_chunks(hidden_ND, labels_N, weights_N, chunk))
        parts = parts[-1:] + parts[:-1]  # the last first: logits that wait go before others come
        if made is not None and made[0].shape != parts[0].hidden.shape:
            raise ValueError(
                f"the head ran ahead on {len(made[0])} positions, the last chunk has {len(parts[0].hidden)}"
            )
        for part in parts:
            if made is None:
                made = with_graph(head, part.hidden)
            loss, (first, *others) = _loss_and_gradients(made, part, trained)
            made = None
            total += loss
            towards_hidden[part.place] = first
            for kept, new in zip(towards_trained, others, strict=True):
                kept += new
        ctx.save_for_backward(towards_hidden, *towards_trained)
        ctx.trains = [p.requires_grad for p in parameters]
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError("the chunked loss keeps no graph of its gradient: it can be differentiated once only")
        (grad_output,) = grad_outputs
        towards_hidden, *towards_trained = (g * grad_output.to(g.dtype) for g in ctx.saved_tensors)
        trained = iter(towards_trained)
        return towards_hidden, None, None, None, None, *(next(trained) if trains else None for trains in ctx.trains)


@dataclass(frozen=True)
class Chunk:
    """Some positions: where they stand, hidden states (n, D), labels and, where they have weights, those (n,)."""

    place: slice
    hidden: Tensor
    labels: Tensor
    weights: Tensor | None


def _loss_and_gradients(
    made: tuple[Tensor, Tensor], part: Chunk, trained: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """One chunk: its summed loss, and the gradients towards its hidden states and the trained tensors."""
    leaf, logits = made
    edge, towards_logits = get_gradient_edge(logits), logits.detach()
    loss = softmax_loss_(towards_logits, part.labels, part.weights)
    # from the edge: a view that was written over would have its way back made anew, through a copy of its gradient
    found = torch.autograd.grad([edge], [leaf, *trained], [towards_logits], allow_unused=True)
    return loss, [torch.zeros_like(t) if g is None else g for g, t in zip(found, (leaf, *trained), strict=True)]


def _chunks(hidden_ND: Tensor, labels_N: Tensor, weights_N: Tensor | None, chunk: int) -> Iterator[Chunk]:
    """At most `chunk` positions at a time; none at all for an empty batch."""
    if len(hidden_ND) != len(labels_N):
        raise ValueError(f"{len(hidden_ND)} hidden states for {len(labels_N)} labels")
    for start in range(0, len(hidden_ND), chunk):
        place = slice(start, start + chunk)
        yield Chunk(place, hidden_ND[place], labels_N[place], None if weights_N is None else weights_N[place])

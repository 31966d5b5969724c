"""What can be had without tuning: the commonest label, and a linear probe on the frozen model.

Linear probe (Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2016,
arXiv:1610.01644): the last hidden states of the base, averaged over a row's tokens and standardised, x (n, D), and

    W, b = argmin  sum_n loss(W x_n + b, y_n) + 1/2 |W|^2

with the cross-entropy of the class, or the squared error of the number. Convex, so there is nothing to tune or seed.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from accorda.data.labelled.batch import LabelledSegment, label_batch
from accorda.evaluation.labelled.predict import pad_of
from accorda.evaluation.likelihood import by_length
from accorda.generation.progress import tell
from accorda.generation.sample import evaluating
from accorda.models.heads import last_hidden
from accorda.models.labels import Labels
from accorda.objectives.classification import label_scores

MOST_ROWS = 4000
"""Training rows that a probe is fitted on."""
ROUNDS = 200


def constant(train: Sequence[LabelledSegment], labels: Labels, number: int) -> np.ndarray:
    """The same outputs (n, K) for every row: the logarithm of each class's share of the training rows, or the mean."""
    values = np.array([segment.label for segment in train])
    if labels.is_number:
        return np.full((number, 1), values.mean(), np.float32)
    counts = np.bincount(values.astype(int), minlength=labels.num_outputs)
    shares = (counts + 1.0) / (counts + 1.0).sum()  # as if each class had been seen once more: none is impossible
    return np.tile(np.log(shares), (number, 1)).astype(np.float32)


def probe(
    model: PreTrainedModel,
    train: Sequence[LabelledSegment],
    asked: Sequence[LabelledSegment],
    labels: Labels,
    batch_size: int = 8,
) -> np.ndarray:
    """Outputs (n, K) for the rows asked, of a probe fitted on the first training rows; the model acts as routed now."""
    train = train[:MOST_ROWS]
    states = pooled(model, [*train, *asked], batch_size)
    seen, other = states[: len(train)], states[len(train) :]
    mean, width = seen.mean(0), seen.std(0).clamp_min(1e-6)
    wanted = torch.tensor([segment.label for segment in train], dtype=torch.float64)
    weight, bias = fitted((seen - mean) / width, wanted, labels.num_outputs)
    return ((other - mean) / width @ weight.T + bias).float().numpy()


def fitted(x: Tensor, wanted: Tensor, num_outputs: int) -> tuple[Tensor, Tensor]:
    """Weight (K, D) and bias (K,) of the probe, in fp64."""
    weight = torch.zeros(num_outputs, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(num_outputs, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=ROUNDS, line_search_fn="strong_wolfe", tolerance_grad=1e-4)

    def loss() -> float:
        search.zero_grad()
        with torch.enable_grad():
            value = -label_scores(x @ weight.T + bias, wanted).sum() + weight.square().sum() / 2
            value.backward()
        return float(value.detach())

    search.step(loss)
    return weight.detach(), bias.detach()


@torch.no_grad()
def pooled(model: PreTrainedModel, segments: Sequence[LabelledSegment], batch_size: int) -> Tensor:
    """The mean of each row's last hidden states, (n, D) in fp64."""
    found: dict[int, Tensor] = {}
    with evaluating(model):
        for places in by_length([len(segment) for segment in segments], batch_size):
            batch = label_batch([segments[place] for place in places], pad_of(model)).to(model.device)
            inputs = batch.inputs()
            if model.config.is_encoder_decoder:
                inputs["decoder_input_ids"] = inputs["input_ids"]
            hidden_BTD = last_hidden(model, **inputs).double().cpu()
            mask = inputs["attention_mask"].double().cpu()[..., None]
            found |= dict(zip(places, (hidden_BTD * mask).sum(1) / mask.sum(1), strict=True))
            tell("hidden states", len(found), len(segments))
    return torch.stack([found[place] for place in range(len(segments))])

"""The objective of classification: one answer per row, given by the model's own head.

One owner of the path from a batch of labelled rows to its scores: training, evaluation and proofs go through it.
"""

from inspect import signature
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from transformers import PreTrainedModel

from accorda.data.batch import Batch
from accorda.data.labelled.batch import LabelledBatch
from accorda.models.heads import last_hidden
from accorda.objectives.classification import label_scores


class Classifying:
    """(model, batch) -> the loss summed over the batch's rows: nats, or squared errors where a number is learned."""

    def __init__(self, model: PreTrainedModel) -> None:
        pass

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The summed loss, a scalar in fp32."""
        assert isinstance(batch, LabelledBatch)
        return -label_scores(class_logits(cast(PreTrainedModel, model), batch), batch.wanted).sum()


def class_logits(model: PreTrainedModel, batch: LabelledBatch) -> Tensor:
    """What the head says to each row, (B, K)."""
    inputs = batch.inputs()
    if model.config.is_encoder_decoder and isinstance(batch.input_ids, FakeTensor):
        return _without_values(model, inputs)
    if "use_cache" in signature(model.forward).parameters:
        inputs["use_cache"] = False
    return model(**inputs).logits


@torch.no_grad()
def row_scores(model: PreTrainedModel, batch: LabelledBatch) -> Tensor:
    """Each row's log-probability of its class, or minus its squared error, (B,)."""
    return label_scores(class_logits(model, batch), batch.wanted)


def _without_values(model: PreTrainedModel, inputs: dict[str, Any]) -> Tensor:
    """The same shapes for a batch that has none but shapes: encoder-decoders look for the end of a row by its id."""
    hidden_BTD = last_hidden(model, **inputs, decoder_input_ids=inputs["input_ids"])
    return model.get_submodule("classification_head")(hidden_BTD[:, -1])

"""Log-probabilities for comparison: in fp32 whatever the run computed in, of each row alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.data.batch import Segment
from accorda.data.labelled.batch import LabelledSegment
from accorda.data.preferences.batch import PreferenceSegment
from accorda.models.dropout import dropping
from accorda.models.labels import is_classifier
from accorda.models.quiet import quiet
from accorda.objectives.classification import label_scores

TOLERANCE = 1e-4  # nats; two orders above what the order of sums costs in fp32


@contextmanager
def in_fp32(model: nn.Module, training: bool = False) -> Iterator[None]:
    """Every bf16 or fp16 tensor of the model is fp32 inside, and on leaving what it was, bit for bit.

    Widening loses nothing and narrowing a widened number gives it back, so no copy is kept. A tensor that was changed
    inside is rounded on leaving.
    """
    tensors = [*model.parameters(), *model.buffers()]
    narrow = [(tensor, tensor.dtype) for tensor in tensors if tensor.dtype in (torch.bfloat16, torch.float16)]
    was_training = {module: module.training for module in model.modules()}
    model.train(training)
    for tensor, _ in narrow:
        tensor.data = tensor.data.float()
    try:
        yield
    finally:
        for tensor, dtype in narrow:
            tensor.data = tensor.data.to(dtype)
        for module, mode in was_training.items():
            module.training = mode


@contextmanager
def no_dropout(model: nn.Module) -> Iterator[None]:
    """Nothing is dropped inside, in training mode too: every module's probability is zero for the while."""
    found = list(dropping(model))
    for module, name, _ in found:
        setattr(module, name, 0.0)
    try:
        yield
    finally:
        for module, name, value in found:
            setattr(module, name, value)


def alone(model: PreTrainedModel, segments: Sequence[Segment]) -> Tensor:
    """Log-probability (N,) of every supervised token in transformers' own way: each row by itself.

    Whole logits, no padding, no packing, no mask: what `next_token_log_probs` is held against. Of a row with a label:
    the one of its class, or minus the squared error of its number. Of compared answers: every answer by itself, of a
    reward model its reward.
    """
    labelled = [segment for segment in segments if isinstance(segment, LabelledSegment)]
    if labelled:
        wanted = torch.tensor([segment.label for segment in labelled], device=next(model.parameters()).device)
        return label_scores(outputs_alone(model, labelled), wanted)
    answers = answers_of(segments)
    if is_classifier(model):
        return torch.cat([_reward(model, answer) for answer in answers])
    return torch.cat([_row(model, answer) for answer in answers])


def answers_of(segments: Sequence[Segment]) -> list[Segment]:
    """The rows; of compared answers every answer by itself."""
    return [part for s in segments for part in (s.answers if isinstance(s, PreferenceSegment) else (s,))]


def everything_alone(model: PreTrainedModel, segments: Sequence[Segment]) -> Tensor:
    """As `alone`; of rows with a label the log-probabilities of all their classes, or their numbers, end to end."""
    labelled = [segment for segment in segments if isinstance(segment, LabelledSegment)]
    if not labelled:
        return alone(model, segments)
    outputs = outputs_alone(model, labelled)
    return (outputs if outputs.shape[1] == 1 else torch.log_softmax(outputs, -1)).flatten()


def outputs_alone(model: PreTrainedModel, segments: Sequence[LabelledSegment]) -> Tensor:
    """What the head says to each row by itself, (n, K) in fp32."""
    device = next(model.parameters()).device
    found = []
    for segment in segments:
        inputs = {"input_ids": torch.as_tensor(segment.input_ids, dtype=torch.int64, device=device)[None]}
        if segment.types:
            types = torch.arange(len(segment), device=device) >= segment.second
            inputs["token_type_ids"] = types.long()[None]
        found.append(model(**inputs).logits.float())
    return torch.cat(found)


def _row(model: PreTrainedModel, segment: Segment) -> Tensor:
    device = next(model.parameters()).device
    read, ids = (
        torch.as_tensor(side, dtype=torch.int64, device=device) for side in (segment.encoder_ids, segment.decoder_ids)
    )
    given = {"input_ids": read[None], "decoder_input_ids": ids[None]} if len(read) else {"input_ids": ids[None]}
    scores = torch.log_softmax(model(**given, use_cache=False).logits[0].float(), -1)
    wanted = torch.as_tensor(segment.supervised[segment.encoder_length :], device=device).nonzero().squeeze(1)
    wanted = wanted[wanted > 0]  # nothing predicts a first token
    return scores[wanted - 1, ids[wanted]]


def _reward(model: PreTrainedModel, answer: Segment) -> Tensor:
    """What a reward model says of one answer, by transformers' own way of finding its last token, (1,)."""
    ids = torch.as_tensor(answer.input_ids, dtype=torch.int64, device=next(model.parameters()).device)
    with quiet():
        return model(inputs_embeds=model.get_input_embeddings()(ids[None]), use_cache=False).logits[:, 0].float()


def largest(difference: Tensor) -> float:
    """The largest absolute value, infinite where anything is not a number."""
    if not difference.numel():
        return 0.0
    return float(difference.abs().nan_to_num(nan=torch.inf).max())


def few_rows(segments: Sequence[Segment], tokens: int = 4096, most: int = 4) -> list[Segment]:
    """The shortest supervised rows, at most `most` and, beyond the first two, at most `tokens` tokens."""
    chosen: list[Segment] = []
    for segment in sorted(segments, key=lambda s: (len(s), s.index)):
        if segment.supervised[1:].any() and len(chosen) < most:
            if len(chosen) >= 2 and sum(map(len, chosen)) + len(segment) > tokens:
                break
            chosen.append(segment)
    return sorted(chosen, key=lambda s: s.index)

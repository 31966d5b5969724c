"""What a classification head says to rows: one vector of scores each."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accorda.data.batch import Segment
from accorda.data.example import Example, RowError
from accorda.data.labelled.batch import LabelledSegment, label_batch
from accorda.data.labelled.dataset import LabelledDataset, cut
from accorda.data.labelled.renderer import LabelledRenderer
from accorda.errors import Refusal
from accorda.evaluation.likelihood import by_length
from accorda.evaluation.metric import Needs, Row
from accorda.generation.progress import tell
from accorda.generation.sample import evaluating
from accorda.models.labels import Labels
from accorda.models.load import pad_token_id
from accorda.objectives.classification import label_scores
from accorda.training.classifying import class_logits

PAD = 0


@torch.no_grad()
def predicted(model: PreTrainedModel, segments: Sequence[LabelledSegment], *, batch_size: int = 8) -> np.ndarray:
    """The head's outputs (n, K) in fp32, in the order given.

    The model runs without dropout and as its adapters are routed now; its modes are restored.
    """
    num_outputs = model.config.num_labels
    assert num_outputs is not None
    found = np.zeros((len(segments), num_outputs), np.float32)
    with evaluating(model):
        done = 0
        for places in by_length([len(segment) for segment in segments], batch_size):
            batch = label_batch([segments[place] for place in places], pad_of(model)).to(model.device)
            found[places] = class_logits(model, batch).float().cpu().numpy()
            done += len(places)
            tell("rows", done, len(segments))
    return found


def settle_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Tell a model that names no padding which id pads: heads of decoders look for the last token before it."""
    config = model.config.get_text_config()
    if config.pad_token_id is None:
        config.pad_token_id = pad_token_id(tokenizer, model)


def renderer_for(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, labels: Labels) -> LabelledRenderer:
    """The renderer of a model: it is told which of two texts a token is of where it has a place for that."""
    types = "token_type_ids" in tokenizer.model_input_names and getattr(model.config, "type_vocab_size", 0) > 1
    accepted = "token_type_ids" in signature(model.forward).parameters
    return LabelledRenderer(tokenizer, labels, has_types=types and accepted)


def pad_of(model: PreTrainedModel) -> int:
    """The id that the model takes for padding."""
    pad = model.config.get_text_config().pad_token_id
    return PAD if pad is None else pad


def segments_of(dataset: LabelledDataset, limit: int | None = None) -> list[LabelledSegment]:
    """The rows of a data set, at most `limit`."""
    return [dataset[row] for row in range(len(dataset) if limit is None else min(limit, len(dataset)))]


def probabilities(outputs: np.ndarray) -> np.ndarray:
    """Outputs (n, K) as probabilities of the classes."""
    return torch.softmax(torch.from_numpy(outputs).double(), -1).numpy()


def rows_of(outputs: np.ndarray, segments: Sequence[LabelledSegment], labels: Labels) -> list[Row]:
    """Outputs (n, K) beside the labels, as metrics take them."""
    wanted = torch.tensor([segment.label for segment in segments])
    scores = label_scores(torch.from_numpy(outputs), wanted).tolist()
    if labels.is_number:
        return [
            Row(log_likelihood=score, num_tokens=1, number=segment.label, predicted_number=float(output[0]))
            for score, segment, output in zip(scores, segments, outputs, strict=True)
        ]
    called = outputs.argmax(1).tolist()
    return [
        Row(
            log_likelihood=score,
            num_tokens=1,
            label=int(segment.label),
            predicted=said,
            num_classes=labels.num_outputs,
        )
        for score, segment, said in zip(scores, segments, called, strict=True)
    ]


def has(labels: Labels) -> tuple[Needs, ...]:
    """What metrics of such rows may be about."""
    return ("likelihood", "numbers" if labels.is_number else "classes")


def labelled(labels: Labels, output: np.ndarray) -> dict[str, Any]:
    """What one row is called: its likeliest class with the probabilities of all, or its number."""
    if labels.is_number:
        return {"number": float(output[0])}
    found = probabilities(output[None])[0].tolist()
    best = max(range(len(found)), key=found.__getitem__)
    return {"label": labels.names[best], "probabilities": dict(zip(labels.names, found, strict=True))}


def label_texts(
    model: PreTrainedModel,
    renderer: LabelledRenderer,
    examples: Sequence[Example],
    *,
    max_length: int,
    batch_size: int = 8,
) -> list[dict[str, Any]]:
    """What each text, or pair of texts, is called; over-long ones are cut as in training.

    Raises:
        Refusal: a text without any token.
    """
    segments = []
    for number, (example, made) in enumerate(zip(examples, renderer.render_many(examples), strict=True), start=1):
        if isinstance(made, RowError):
            raise Refusal(f"text {number}: {made}")
        whole = Segment(number - 1, made.input_ids, made.supervised, example.file, example.line)
        segments.append(cut(whole, made.prompt_length, 0.0, renderer, max_length))
    return [labelled(renderer.labels, output) for output in predicted(model, segments, batch_size=batch_size)]

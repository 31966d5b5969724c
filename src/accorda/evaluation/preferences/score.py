"""What a trained reward model says of answers: one number each, in the order given."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from accorda.data.batch import Segment
from accorda.data.example import Example, RowError
from accorda.data.labelled.renderer import load_renderer
from accorda.data.preferences.batch import compared, preference_batch
from accorda.data.preferences.renderer import PreferenceRenderer
from accorda.data.renderer import Renderer
from accorda.errors import Refusal
from accorda.evaluation.labelled.predict import settle_padding
from accorda.evaluation.likelihood import by_length
from accorda.generation.progress import tell
from accorda.generation.sample import evaluating
from accorda.methods.open import Opened
from accorda.models.labels import is_classifier
from accorda.models.load import load_tokenizer
from accorda.training.comparing import compared as as_compared
from accorda.training.rewarding import rewards


@torch.no_grad()
def score(
    model: PreTrainedModel, renderer: Renderer, examples: Sequence[Example], *, batch_size: int = 8
) -> list[float]:
    """The reward of each answer.

    Args:
        model: a reward model, as its adapters are routed now; its modes are restored.
        renderer: the one it was trained with (`reward_renderer`).
        examples: prompts with their completions, or conversations that end with the answer.
        batch_size: answers at a time.

    Raises:
        Refusal: an answer that cannot be read, by its number.
    """
    segments = []
    for number, made in enumerate(renderer.render_many(examples)):
        if isinstance(made, RowError):
            raise Refusal(f"answer {number + 1}: {made}")
        segments.append(Segment(number, made.input_ids, made.supervised, "", number + 1))
    found, done = [0.0] * len(segments), 0
    with evaluating(model):
        for places in by_length([len(segment) for segment in segments], batch_size):
            rows = [compared([segments[place]], (0,)) for place in places]
            batch = as_compared(preference_batch(rows, packed=False, pad_id=0).to(model.device))
            for place, value in zip(places, rewards(model, batch).tolist(), strict=True):
                found[place] = value
            done += len(places)
            tell("rewards", done, len(segments))
    return found


def reward_renderer(opened: Opened, trust_remote_code: bool = False) -> PreferenceRenderer | None:
    """How answers become ids for a reward model, which is told the id that pads; None for any other model."""
    if not is_classifier(opened.model) or opened.renderer_path is None:
        return None
    tokenizer = load_tokenizer(opened.tokenizer_source, trust_remote_code)
    stored = load_renderer(opened.renderer_path.parent, tokenizer)
    if stored.kind == "labelled":
        return None
    settle_padding(opened.model, tokenizer)
    made = PreferenceRenderer(tokenizer, "auto", stored.reasoning)
    made.template, made.kind = stored.template, stored.kind
    return made

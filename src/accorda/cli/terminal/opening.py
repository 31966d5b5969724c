"""Anything a user can name as a model, opened for a verb: model, tokenizer, and the renderer it was made with."""

from dataclasses import dataclass
from typing import Any

from accorda.errors import Refusal


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A model to generate with or to measure."""

    model: Any
    tokenizer: Any
    renderer: Any
    adapter: str | None


def ready(name: str, *, chat: bool = False, trust_remote_code: bool = False, **loading: Any) -> Ready:
    """Open a run, an adapter folder, a model folder or a hub id.

    `chat`: bare text is what a user says. loading: quantization, double_quantization, dtype, as in `load_model`.
    """
    from accorda.data.renderer import Renderer
    from accorda.evaluation.labelled.report import opened_renderer
    from accorda.evaluation.preferences.score import reward_renderer
    from accorda.methods.backbone import check_no_placeholders
    from accorda.methods.open import open_model
    from accorda.models.decoder_start import decoder_start
    from accorda.models.labels import is_classifier
    from accorda.models.load import load_tokenizer

    opened = open_model(name, trust_remote_code=trust_remote_code, **loading)
    check_no_placeholders(opened.model)
    tokenizer = load_tokenizer(opened.tokenizer_source, trust_remote_code)
    if reward_renderer(opened, trust_remote_code) is not None:
        raise Refusal(f"{name}: a reward model writes no answers; measure it with: accorda eval {name}")
    if is_classifier(opened.model):
        renderer = opened_renderer(opened)
        return Ready(model=opened.model, tokenizer=tokenizer, renderer=renderer, adapter=opened.adapter_name)
    stored = opened.renderer_path
    if stored is None:
        renderer = Renderer(tokenizer, decoder_start=decoder_start(opened.model))
    else:
        renderer = Renderer.load(stored.parent, tokenizer)
    if chat:
        renderer.kind = "messages"
    return Ready(model=opened.model, tokenizer=tokenizer, renderer=renderer, adapter=opened.adapter_name)

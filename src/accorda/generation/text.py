"""Completions of texts and conversations: what `accorda.generate` is."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accorda.data.example import Example, RowError
from accorda.data.formats import messages
from accorda.data.renderer import Renderer
from accorda.errors import Refusal
from accorda.generation import sample
from accorda.generation.sample import Completion
from accorda.generation.stopping import stop_ids as declared
from accorda.models.decoder_start import decoder_start

Conversation = Sequence[Mapping[str, Any]]


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: str | Conversation | Sequence[str | Conversation],
    *,
    renderer: Renderer | None = None,
    stop_ids: Iterable[int] | None = None,
    batch_size: int = 8,
    **sampling: Any,
) -> list[Completion]:
    """What the model writes behind each prompt, in order; one prompt alone gives a list of one.

    Args:
        model: a decoder or an encoder-decoder, with whatever adapters act now.
        tokenizer: its tokenizer.
        prompts: one or several of: a text, or a conversation as a list of {"role": ..., "content": ...}.
            A conversation goes through the chat template. A text is fed as it is, unless `renderer` was made for
            conversations: then it is what a user says.
        renderer: how prompts become ids; a run's own is `Renderer.load(run, tokenizer)`. Default: the tokenizer's.
        stop_ids: the ids that end a completion. Default: end of text and end of turn, from wherever declared.
        batch_size: rows per forward.
        **sampling: fields of `Sampling`: max_new_tokens, temperature (0: greedy), top_k, top_p, seed, stop_texts.

    Raises:
        Refusal: wrong settings; a prompt that is no text or conversation, is empty or exceeds the context.
    """
    renderer = renderer or Renderer(tokenizer, decoder_start=decoder_start(model))
    ids = [renderer.prompt_ids(_example(prompt, row, renderer)) for row, prompt in enumerate(_listed(prompts))]
    stops = declared(model, tokenizer, renderer.stop_ids) if stop_ids is None else stop_ids
    return sample.generate(model, ids, tokenizer=tokenizer, stop_ids=stops, batch_size=batch_size, **sampling)


def _listed(prompts: Any) -> list[Any]:
    """One prompt as a list of one: a text, or a list that begins with a message."""
    if isinstance(prompts, str) or (len(prompts) and isinstance(prompts[0], Mapping)):
        return [prompts]
    return list(prompts)


def _example(prompt: object, row: int, renderer: Renderer) -> Example:
    if isinstance(prompt, str):
        return renderer.ask(prompt)
    if not isinstance(prompt, Sequence) or not len(prompt):
        raise Refusal(f"prompts[{row}] = {prompt!r}: a prompt is a text, or a list of messages with role and content")
    try:
        return messages.parse({"messages": list(prompt)})
    except RowError as error:
        raise Refusal(f"prompts[{row}]: {error}") from None

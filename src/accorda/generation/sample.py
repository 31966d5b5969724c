"""Completions of prompts: the whole list, or one as a stream of tokens.

The order of work is by length, so that rows of a batch waste little padding; the order of results is that of the
prompts. Neither the batch size nor the other prompts change a completion: rows do not see each other, and each draws
from its own random numbers: prompt i from those made of (seed, i), sample s of several of it from those of (seed, i,
s). Adapters act as `use` says, also one per prompt (`use(rows=...)`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accorda.errors import Refusal
from accorda.generation import stopping
from accorda.generation.decoding import Decoding, Token
from accorda.generation.past import Past, fits_window
from accorda.generation.progress import tell
from accorda.generation.sampling import Sampling
from accorda.generation.two_stacks import TwoStackDecoding
from accorda.generation.words import cut_at, decoded, words_behind
from accorda.methods.backbone import cached_in_front, positions_in_front
from accorda.methods.routing import routing
from accorda.recipe.reader import read


@dataclass(frozen=True)
class Completion:
    """What the model wrote behind a prompt."""

    token_ids: list[int] = field(default_factory=list)
    """Every generated id, the stop token included."""
    text: str = ""
    """The text behind the prompt, without stop token or stop text; empty where no tokenizer was given."""
    stopped: bool = False
    """Whether the model ended it, rather than `max_new_tokens` or the context's end."""
    log_probs: list[float] = field(default_factory=list)
    """Log-probability of each id under the model as it is: without temperature, top k and top p."""
    drawn_log_probs: list[float] = field(default_factory=list)
    """Under what it was drawn from: at the temperature, among the top k and the top p."""


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    stop_ids: Iterable[int] | None = None,
    num_samples: int = 1,
    seeds: Sequence[tuple[int, ...]] | None = None,
    batch_size: int = 8,
    enough: Callable[[], bool] = lambda: False,
    **sampling: Any,
) -> list[Completion]:
    """Completions of prompts given as token ids, in the prompts' order; the samples of a prompt stand together.

    Args:
        model: a decoder or an encoder-decoder with its head. Its mode and settings are as before afterwards.
        prompts: token ids of each prompt, none empty.
        tokenizer: makes the completions' text; also names its end-of-text id.
        stop_ids: the ids that end a completion. Default: what `stopping.stop_ids` finds.
        num_samples: completions of each prompt, drawn from one reading of it.
        seeds: what the random numbers of each prompt are made from. Default: the seed and the prompt's place.
        batch_size: rows per forward, samples counted each.
        enough: asked between tokens; once it says yes, what has been written so far is all there is.
        **sampling: fields of `Sampling`: max_new_tokens, temperature, top_k, top_p, seed, stop_texts.

    Raises:
        Refusal: an unknown or wrong setting; an empty prompt; a prompt longer than the model's context; several samples
            without a temperature, which would all be one.
    """
    settings = _settings(sampling, tokenizer)
    adapters = routing(model).route.rows
    limit = _check(model, prompts, adapters)
    stops = stopping.stop_ids(model, tokenizer) if stop_ids is None else frozenset(stop_ids)
    draws = _draws(settings, num_samples, seeds or [(settings.seed, place) for place in range(len(prompts))])
    completions: list[list[Completion]] = [[Completion()] * num_samples] * len(prompts)
    done = 0
    most = max(1, batch_size // num_samples)
    with evaluating(model):
        for rows in _batches(model, [len(prompt) for prompt in prompts], most, settings.max_new_tokens):
            batch = [prompts[row] for row in rows]
            decoding = decoding_of(model)(
                model,
                batch,
                settings,
                stop_ids=stops,
                seeds=[seed for row in rows for seed in draws[row]],
                limit=limit,
                adapters=[adapters[row] for row in rows] if adapters else None,
            )
            found = _complete(decoding, batch, num_samples, tokenizer, enough)
            for place, row in enumerate(rows):
                completions[row] = found[place * num_samples : (place + 1) * num_samples]
            done += len(rows)
            tell("answers", done, len(prompts))
            if enough():
                break
    return [completion for samples in completions for completion in samples]


def stream(
    model: PreTrainedModel,
    prompt: Sequence[int],
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    stop_ids: Iterable[int] | None = None,
    past: Past | None = None,
    **sampling: Any,
) -> Iterator[Token]:
    """The tokens `generate` would give for this prompt alone, one by one as they come, the stop token included.

    What cannot be generated from is refused at once. The model is in eval mode from the first token until the stream
    ends or is closed. With `past`, what the prompt has in common with what was read before is not read again; sums then
    run in another order than in `generate`, so log-probabilities are the same to rounding.
    """
    settings = _settings(sampling, tokenizer)
    adapters = routing(model).route.rows
    limit = _check(model, [prompt], adapters)
    stops = stopping.stop_ids(model, tokenizer) if stop_ids is None else frozenset(stop_ids)
    kind = decoding_of(model)
    decoding = kind(model, [prompt], settings, stop_ids=stops, limit=limit, adapters=adapters, past=past)
    return _tokens(decoding, tokenizer)


def _tokens(decoding: Decoding, tokenizer: PreTrainedTokenizerBase | None) -> Iterator[Token]:
    """The one row of a decoding, to its end."""
    given: list[int] = []
    with evaluating(decoding.model):
        while tokens := decoding.step():
            given.append(tokens[0].token_id)
            yield tokens[0]
            if _holds_stop_text(given, decoding.sampling.stop_texts, tokenizer):
                return


def decoding_of(model: PreTrainedModel) -> type[Decoding]:
    """How this kind of model writes."""
    return TwoStackDecoding if model.config.is_encoder_decoder else Decoding


def in_front(model: PreTrainedModel, prompt: Sequence[int]) -> Sequence[int]:
    """The ids that stand before an answer in one text with it: the prompt, or nothing where an encoder has it."""
    return () if model.config.is_encoder_decoder else prompt


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Dropout off and caches on inside; every module's mode as it was outside, whatever the mixture."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def context_length(model: PreTrainedModel) -> int | None:
    """How many positions the model has, or None where its config names no number."""
    return getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)


def _settings(sampling: dict[str, Any], tokenizer: PreTrainedTokenizerBase | None) -> Sampling:
    settings = read(Sampling, sampling, at="sampling")
    if settings.stop_texts and tokenizer is None:
        raise Refusal("sampling.stop_texts: without a tokenizer no text is seen; pass one, or stop_ids instead")
    return settings


def _draws(settings: Sampling, num_samples: int, seeds: Sequence[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """What the samples of each prompt draw from; a single one from the prompt's own seed."""
    if num_samples == 1:
        return [[seed] for seed in seeds]
    if settings.temperature == 0:
        some = f"num_samples = {num_samples}"
        raise Refusal(f"{some}: at temperature 0 all samples of a prompt are one; give a temperature")
    return [[(*seed, sample) for sample in range(num_samples)] for seed in seeds]


def _check(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], adapters: Sequence[str | None] | None
) -> int | None:
    """Refuse what cannot be generated from; return how many positions prompt and completion may fill.

    An encoder-decoder's completion has positions of its own, as many.
    """
    if adapters is not None and len(adapters) != len(prompts):
        raise Refusal(f"use: {len(adapters)} rows were given for {len(prompts)} prompts")
    limit, front = context_length(model), positions_in_front(model)
    room = None if limit is None else limit - front
    for row, prompt in enumerate(prompts):
        if not len(prompt):
            raise Refusal(f"prompts[{row}]: no token to start from; put the beginning-of-text token in front")
        if room is not None and len(prompt) > room:
            less = f" less {front} of the soft prompt" if front else ""
            raise Refusal(f"prompts[{row}]: {len(prompt)} tokens, but the model's context holds {limit}{less}")
    return limit if model.config.is_encoder_decoder else room


def _batches(
    model: PreTrainedModel, lengths: Sequence[int], batch_size: int, max_new_tokens: int
) -> Iterator[list[int]]:
    """Rows of one forward, longest first; only equally long ones where padding would shift a sliding window."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    mixed = fits_window(model, cached_in_front(model) + max(lengths, default=0) + max_new_tokens)
    batch: list[int] = []
    for row in order:
        if len(batch) == batch_size or (batch and not mixed and lengths[row] != lengths[batch[0]]):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _complete(
    decoding: Decoding,
    prompts: Sequence[Sequence[int]],
    num_samples: int,
    tokenizer: PreTrainedTokenizerBase | None,
    enough: Callable[[], bool],
) -> list[Completion]:
    """Run a batch to its end, or until it is enough."""
    whose = [prompt for prompt in prompts for _ in range(num_samples)]
    ids: list[list[int]] = [[] for _ in whose]
    log_probs: list[list[float]] = [[] for _ in whose]
    drawn: list[list[float]] = [[] for _ in whose]
    stop_texts = decoding.sampling.stop_texts
    while tokens := decoding.step():
        for token in tokens:
            ids[token.row].append(token.token_id)
            log_probs[token.row].append(token.log_prob)
            drawn[token.row].append(token.drawn_log_prob)
        decoding.stop(row for row in decoding.rows if _holds_stop_text(ids[row], stop_texts, tokenizer))
        if enough():
            break
    completions = []
    for row, prompt in enumerate(whose):
        own = ids[row][:-1] if ids[row] and ids[row][-1] in decoding.stop_ids else ids[row]
        text = (
            cut_at(words_behind(tokenizer, in_front(decoding.model, prompt), own), stop_texts)
            if tokenizer is not None
            else ""
        )
        completions.append(Completion(ids[row], text, row in decoding.stopped, log_probs[row], drawn[row]))
    return completions


def _holds_stop_text(ids: Sequence[int], stop_texts: Sequence[str], tokenizer: PreTrainedTokenizerBase | None) -> bool:
    """Whether a stop text has just been completed. A character is at most four tokens, one per byte."""
    if not stop_texts:
        return False
    tail = decoded(tokenizer, ids[-4 * max(map(len, stop_texts)) - 4 :])
    return any(stop in tail for stop in stop_texts)

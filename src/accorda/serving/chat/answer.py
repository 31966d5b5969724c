"""One answer: what the model is shown of the conversation, and what it says, as it says it."""

from collections.abc import Iterator, Sequence
from typing import Any

from transformers import PreTrainedModel

from accorda.data.example import Message
from accorda.errors import Refusal
from accorda.generation.sample import Completion, context_length, in_front, stream
from accorda.generation.sampling import Sampling
from accorda.generation.streaming import Stream
from accorda.methods.backbone import positions_in_front
from accorda.methods.routing import use
from accorda.serving.chat.history import recent
from accorda.serving.chat.voices import Voice, Voices


class Answer:
    """Iterate for the text; then `text`, `completion` and `remarks` tell what came out. Nothing is cut in silence.

    Raises, when made:
        Refusal: the last message does not fit into the model's context, or cannot be rendered.
    """

    def __init__(self, voices: Voices, voice: Voice, messages: Sequence[Message], sampling: Sampling):
        self.model, self.voice, self.sampling = voices.model, voice, sampling
        self.interrupted = False
        stops = voices.stop_ids(voice)
        tokenizer = voice.renderer.tokenizer
        with use(self.model, voice.adapter):
            self.room = _room(self.model)
            shared = 0 if self.model.config.is_encoder_decoder else sampling.max_new_tokens
            self.prompt, self.left_out = _shown(voice, messages, self.room, shared)
            drawn = {**vars(sampling), "tokenizer": tokenizer, "stop_ids": stops}
            tokens = stream(self.model, self.prompt, past=voices.past(voice), **drawn)
        before = in_front(self.model, self.prompt)
        self.stream = Stream(tokens, tokenizer, before, stop_ids=stops, stop_texts=sampling.stop_texts)

    def __iter__(self) -> Iterator[str]:
        pieces = iter(self.stream)
        while True:
            with use(self.model, self.voice.adapter):  # only while the model works: two answers may take turns
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def stop(self) -> None:
        """End it here and keep what was said."""
        self.interrupted = True
        self.stream.close()

    @property
    def completion(self) -> Completion:
        """What `generate` would have given, as far as it came."""
        return self.stream.completion

    def before(self) -> list[str]:
        """What must be known before it begins."""
        if not self.left_out:
            return []
        what = "oldest question was" if self.left_out == 1 else f"{self.left_out} oldest questions were"
        return [f"the model's context holds {self.room} tokens: the {what} left out, with what followed"]

    def after(self) -> list[str]:
        """Why it ended, where the model did not end it; that it is empty."""
        done = self.completion
        told = [] if done.text.strip() else ["the answer is empty"]
        if self.interrupted:
            return [*told, "stopped; what was said is kept"]
        if done.stopped:
            return told
        number = len(done.token_ids)
        if number < self.sampling.max_new_tokens:
            return [*told, f"cut after {number} tokens: the context of {self.room} tokens is full"]
        return [*told, f"cut after {number} tokens; /settings max_new_tokens={2 * number} allows more"]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        done = self.completion
        return {
            "by": self.voice.name,
            "text": done.text,
            "stopped": done.stopped,
            "token_ids": done.token_ids,
            "log_probs": done.log_probs,
            "remarks": [*self.before(), *self.after()],
        }


def _room(model: PreTrainedModel) -> int | None:
    """How many positions a conversation may fill, as the adapters act now."""
    length = context_length(model)
    return None if length is None else length - positions_in_front(model)


def _shown(voice: Voice, messages: Sequence[Message], room: int | None, answer: int) -> tuple[list[int], int]:
    """The ids of the conversation and how many of its oldest questions had to be left out.

    `answer` is how many tokens of the context an answer may take: it gets them, or half of the context if that is less.
    """
    questions = sum(message.role == "user" for message in messages) if voice.kind == "messages" else 1
    left_out, ids = 0, voice.prompt_ids(messages)
    if room is None:
        return ids, 0
    while len(ids) + min(answer, room // 2) > room and left_out < questions - 1:
        left_out += 1
        ids = voice.prompt_ids(recent(messages, left_out))
    if len(ids) + bool(answer) > room:
        raise Refusal(
            f"the message takes {len(ids)} tokens and the model's context holds {room}; say it in fewer words"
        )
    return ids, left_out

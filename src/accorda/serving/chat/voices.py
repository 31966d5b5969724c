"""Who answers: one base, any number of adapters on it, each with the renderer it was trained with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from transformers import PreTrainedModel

from accorda.data.example import Example, Kind, Message, RowError
from accorda.data.renderer import FILE, Renderer
from accorda.errors import Refusal
from accorda.generation.past import Past
from accorda.generation.stopping import stop_ids
from accorda.methods.backbone import check_no_placeholders
from accorda.methods.install import freeze, remove
from accorda.methods.locate import adapter_folder
from accorda.methods.open import Loading, open_model
from accorda.methods.storage import load_adapter
from accorda.models import tokenizer as tokenizers
from accorda.models.decoder_start import decoder_start
from accorda.models.load import load_tokenizer

BASE = "base"
CHEAP = 2e10  # operations: about a second of one slow core; what takes less is read anew, bit for bit as by generate


@dataclass(frozen=True, eq=False)
class Voice:
    """One way in which the model can answer: under an adapter (None: as the base), through one renderer.

    `path` is what the user named; `name` is short and stands over its answers.
    """

    path: str
    name: str
    adapter: str | None
    renderer: Renderer

    @property
    def kind(self) -> Kind:
        """What the renderer's rows are; a bare model's are conversations where its tokenizer has a template."""
        templated = self.renderer.tokenizer.chat_template is not None
        return self.renderer.kind or ("messages" if templated else "completion")

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """What the model reads before it answers the last message: the conversation, or that message alone.

        Raises:
            Refusal: the template cannot show the conversation.
        """
        if self.kind != "messages":
            return self.renderer.prompt_ids(Example(prompt=messages[-1].content))
        try:
            return self.renderer.prompt_ids(Example(messages=tuple(messages)))
        except RowError as error:
            raise Refusal(str(error)) from None

    def as_base(self) -> "Voice":
        """The base, asked in the same words."""
        return replace(self, name=BASE, adapter=None)


class Voices:
    """A model and who speaks through it now: `speaking`, one voice, or base and tuned."""

    def __init__(self, model: PreTrainedModel, voice: Voice):
        self.model = model
        self.tuned = voice
        self.speaking: tuple[Voice, ...] = (voice,)
        self.known = {voice.path: voice}
        self._pasts: dict[str | None, Past] = {}

    @classmethod
    def open(cls, name: str, **loading: Unpack[Loading]) -> "Voices":
        """A run, an adapter folder, a model folder or a hub id, answering as what it is."""
        opened = open_model(name, **loading)
        check_no_placeholders(opened.model)
        tokenizer = load_tokenizer(opened.tokenizer_source, loading.get("trust_remote_code", False))
        stored = opened.renderer_path
        if stored is None:
            renderer = Renderer(tokenizer, decoder_start=decoder_start(opened.model))
        else:
            renderer = Renderer.load(stored.parent, tokenizer)
        return cls(opened.model, Voice(name, Path(name).name or name, opened.adapter_name, renderer))

    def past(self, voice: Voice) -> Past:
        """What the voice has read and said so far: only what is new of a long conversation is read."""
        return self._pasts.setdefault(voice.adapter, Past(CHEAP))

    def stop_ids(self, voice: Voice) -> frozenset[int]:
        """The ids that end its answers, as `generate` finds them."""
        return stop_ids(self.model, voice.renderer.tokenizer, voice.renderer.stop_ids)

    def use_base(self) -> None:
        """The base answers from now on."""
        self.speaking = (self._require_adapter("/base").as_base(),)

    def use_tuned(self) -> None:
        """The adapter answers from now on."""
        self.speaking = (self.tuned,)

    def use_both(self) -> None:
        """Base and adapter answer from now on."""
        tuned = self._require_adapter("/both")
        self.speaking = (tuned.as_base(), tuned)

    def use_adapter(self, name: str) -> None:
        """Another adapter of the same base answers from now on; it is loaded the first time.

        Raises:
            Refusal: there is none, it is another base's, or its files are broken.
        """
        if name not in self.known:
            self.known[name] = self._loaded(name)
        self.tuned = self.known[name]
        self.use_tuned()

    def _loaded(self, name: str) -> Voice:
        folder = adapter_folder(name)
        short = Path(name).name
        if any(voice.name == short for voice in self.known.values()):
            short = name
        voice = Voice(name, short, f"adapter-{len(self.known)}", self._renderer(folder, Path(name).expanduser()))
        if all(known.adapter is None for known in self.known.values()):
            freeze(self.model)
        assert voice.adapter is not None
        load_adapter(self.model, folder, voice.adapter)
        try:
            check_no_placeholders(self.model)
        except Refusal:
            remove(self.model, voice.adapter)
            raise
        return voice

    def _renderer(self, *homes: Path) -> Renderer:
        """That of the adapter's folder or run; without one, the renderer of the model that is open."""
        home = next((home for home in homes if (home / FILE).is_file()), None)
        if home is None:
            return self.tuned.renderer
        own = next((place for place in homes if any((place / file).is_file() for file in tokenizers.FILES)), None)
        tokenizer = self.tuned.renderer.tokenizer if own is None else load_tokenizer(str(own))
        return Renderer.load(home, tokenizer)

    def _require_adapter(self, what: str) -> Voice:
        if self.tuned.adapter is None:
            raise Refusal(f"{what}: {self.tuned.name} has no adapter to leave out; /adapter RUN puts one on")
        return self.tuned

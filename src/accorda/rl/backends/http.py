"""A server answers, as vLLM serves a model: it has the base, and is handed the policy's adapter before every phase.

    POST /v1/load_lora_adapter   {lora_name, lora_path}: a folder in PEFT's format that both can read
    POST /v1/completions         {model: the adapter's name, prompt: token ids, n, seed, temperature, ...}, one a prompt
    POST /v1/unload_lora_adapter {lora_name}

Every adapter has a name of its own, made of run, step and bytes: a server that keeps what it has read of a prompt
keeps it by that name, so what older weights read is never taken for what newer ones would. Which weights sampled is
read from the answer, not assumed. Top k, top p and penalties are switched off by name, since a server takes what is
left out from the model's own generation settings.
"""

import hashlib
import logging
import secrets
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.generation.sample import Completion
from accorda.generation.words import words_behind
from accorda.methods.install import installed
from accorda.methods.routing import acting
from accorda.methods.storage import save_adapter
from accorda.methods.storage.files import TENSORS
from accorda.methods.storage.peft import format_for, lora
from accorda.models.vocabulary import added_tokens
from accorda.recipe.words import shown
from accorda.rl.backends.contract import Asked, Backend
from accorda.rl.backends.server import KEY, Server, key
from accorda.rl.settings import RolloutSettings
from accorda.training.guard import Unreachable

logger = logging.getLogger(__name__)
PLAIN = {
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "ignore_eos": True,  # what ends an answer is in stop_token_ids
    "logprobs": 1,
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,
}
ID = "token_id:"  # before an id that stands in place of a token's text
LOWEST = -sys.float_info.max
HOW = "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"


class Http(Backend):
    """Answers by a server."""

    elsewhere = True

    def __init__(self, settings: RolloutSettings, folder: Path) -> None:
        super().__init__(settings, folder)
        assert settings.url is not None
        self.server = Server(settings.url, settings.timeout)
        self.folder = (Path(settings.folder) if settings.folder else folder).absolute()
        self.mine = secrets.token_hex(4)  # of several runs, or one that was killed and began again
        self.name: str | None = None
        self.last: tuple[Any, list[Completion]] | None = None

    @staticmethod
    def check(settings: RolloutSettings, origin: Callable[[str], str]) -> None:
        url = settings.url
        if url is None:
            raise Refusal("rollout.url: missing; backend http asks a server, named as http://host:port")
        if (wrong := address_fault(url)) is not None:
            raise Refusal(f"rollout.url = {shown(url)} ({origin('rollout.url')}): {wrong}")
        key()

    def require_fit(self, model: PreTrainedModel, max_length: int) -> None:
        require_lora(model)
        served = self.base()
        longest = served.get("max_model_len")
        if isinstance(longest, int) and longest < max_length:
            raise Refusal(
                f"data.max_length = {max_length}: the server of {served['id']} reads {longest} tokens; use as many, or "
                "start it with a larger --max-model-len"
            )

    def base(self) -> dict[str, Any]:
        """What the server tells of the base: the model of that name, or the only one."""
        listed, wanted = self.server.models(), self.settings.model
        names = ", ".join(str(one["id"]) for one in listed) or "none"
        if wanted is None:
            bases = [one for one in listed if not one.get("parent")]
            if len(bases) == 1:
                return bases[0]
            raise Refusal(
                f"rollout.model: missing; the server at {self.server.url} has {names}; name the policy's base"
            )
        found = next((one for one in listed if one["id"] == wanted), None)
        if found is None:
            raise Refusal(f"rollout.model = {wanted}: the server at {self.server.url} has {names}; name one of them")
        return found

    def update(self, model: PreTrainedModel, version: int) -> None:
        adapter, _ = adapter_of(model)
        new = self.folder / ".new"
        shutil.rmtree(new, ignore_errors=True)
        save_adapter(model, new, adapter)
        digest = hashlib.sha256((new / TENSORS).read_bytes()).hexdigest()[:12]
        name = f"accorda-{self.mine}-step-{version}-{digest}"
        if name == self.name:
            shutil.rmtree(new)
        else:
            self.close()
            new.rename(self.folder / name)
            try:
                self.server.load(name, str(self.folder / name))
            except Unreachable as error:
                self.clear(name)
                unknown = "says 404" in str(error)
                raise Unreachable(f"{error}; {HOW}" if unknown else str(error)) from None
            self.name = name
        self.version = version

    def generate(self, asked: Asked) -> list[Completion]:
        key = (self.name, asked.settings, tuple(map(tuple, asked.prompts)), tuple(asked.seeds))
        if self.last is None or self.last[0] != key:  # a server need not give the same answers twice
            at_once = max(1, asked.settings.batch_size // asked.settings.num_generations)
            with ThreadPoolExecutor(min(at_once, len(asked.prompts))) as pool:
                told = list(pool.map(lambda place: self.answers(asked, place), range(len(asked.prompts))))
            self.last = key, [one for answers in told for one in answers]
        return self.last[1]

    def answers(self, asked: Asked, place: int) -> list[Completion]:
        """The completions of one prompt."""
        prompt, settings = list(asked.prompts[place]), asked.settings
        told = self.server.complete(
            {
                "model": self.name,
                "prompt": prompt,
                "n": settings.num_generations,
                "max_tokens": settings.max_new_tokens,
                "temperature": settings.temperature,
                "seed": int(np.random.SeedSequence(asked.seeds[place]).generate_state(1)[0]),
                "stop_token_ids": sorted(asked.stop_ids),
                **PLAIN,
            }
        )
        choices = told.get("choices") if isinstance(told, dict) else None
        if not isinstance(choices, list) or len(choices) != settings.num_generations:
            number = len(choices) if isinstance(choices, list) else "no"
            raise self.server.fault(
                f"gave {number} answers to a prompt where {settings.num_generations} were asked for"
            )
        if told.get("model") != self.name:
            raise self.server.fault(f"was asked for {self.name} and answers as {told.get('model')}")
        if not all(isinstance(one, dict) and is_index(one.get("index", 0)) for one in choices):
            raise self.other_form("choices must be objects with a whole number as index")
        return [self.completion(one, prompt, asked) for one in sorted(choices, key=lambda one: one.get("index", 0))]

    def completion(self, choice: dict[str, Any], prompt: list[int], asked: Asked) -> Completion:
        """One answer, if it can be learned from."""
        if choice.get("prompt_token_ids") not in (None, prompt):
            raise self.server.fault("read other token ids than the prompt's; it must take prompts as they are")
        told = choice.get("logprobs") or {}
        if not isinstance(told, dict):
            raise self.other_form("logprobs must be an object with token_logprobs")
        ids, log_probs = ids_of(choice, told), told.get("token_logprobs")
        if ids is None:
            raise self.server.fault("gives no token ids; it must know return_token_ids or return_tokens_as_token_ids")
        if not isinstance(log_probs, list) or len(log_probs) != len(ids) or not all(map(is_log_prob, log_probs)):
            raise self.server.fault("gives no log-probability of every token; it must be allowed to (--max-logprobs)")
        size = len(cast(Tensor, asked.model.get_input_embeddings().weight))
        if odd := [one for one in ids if not 0 <= one < size]:
            raise self.server.fault(f"sampled token id {odd[0]}, and the policy has {size}: it serves another model")
        ends = [place for place, one in enumerate(ids) if one in asked.stop_ids]
        stopped = bool(ends) and ends[0] == len(ids) - 1
        if not ids or len(ids) > asked.settings.max_new_tokens or (ends and not stopped):
            raise self.server.fault(f"gave an answer of {len(ids)} tokens that does not end where it was told to")
        if not stopped and choice.get("finish_reason") != "length":
            how = choice.get("finish_reason")
            raise self.server.fault(f"ended an answer ({how}) at token id {ids[-1]}, which ends none of the policy's")
        own = ids[:-1] if stopped else ids
        text = words_behind(asked.tokenizer, prompt, own) if asked.tokenizer is not None else ""
        return Completion(ids, text, stopped, drawn_log_probs=log_probs)

    def other_form(self, what: str) -> Unreachable:
        """Answers are JSON, but not as an OpenAI-compatible server writes them."""
        return self.server.fault(f"gives answers in another form: {what}; name an OpenAI-compatible server")

    def clear(self, name: str) -> None:
        """Take an adapter's files away, and the folder that was made for them."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        if not self.settings.folder:
            with suppress(OSError):  # what comes next may stand there
                self.folder.rmdir()

    def close(self) -> None:
        if self.name is None:
            return
        name, self.name = self.name, None
        self.clear(name)
        try:
            self.server.unload(name)
        except Unreachable as error:  # one that was started anew has it no longer
            logger.warning("%s", error)


def adapter_of(model: PreTrainedModel) -> tuple[str, tuple[Any, ...]]:
    """The policy's adapter: its name and its methods."""
    (name,) = acting(model)
    return name, installed(model)[name]


def ids_of(choice: dict[str, Any], told: dict[str, Any]) -> list[int] | None:
    """The sampled ids of an answer; from what stands in place of the tokens' text where the server lists them so."""
    if (ids := choice.get("token_ids")) is not None:
        return ids if isinstance(ids, list) and all(map(is_index, ids)) else None
    listed = told.get("tokens")
    tokens = [str(one) for one in listed] if isinstance(listed, list) else []
    named = tokens and all(one.removeprefix(ID).isdecimal() and one.startswith(ID) for one in tokens)
    return [int(one.removeprefix(ID)) for one in tokens] if named else None


def is_index(value: Any) -> bool:
    """Whether it is a whole number; JSON's true and false are numbers to Python."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_log_prob(value: Any) -> bool:
    """Whether it is a number that a log-probability can be; rounding may leave it just above zero."""
    return isinstance(value, int | float) and not isinstance(value, bool) and LOWEST <= value < 1e-3


def address_fault(url: str) -> str | None:
    """Why an address is none that a server can be asked at."""
    plain = "no address of a server, http://host:port"
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an open bracket, a port that is no number
        return plain
    if not known or parts.query or parts.fragment or any(one.isspace() or not one.isprintable() for one in url):
        return plain
    if not url.isascii():
        return "holds letters beyond ASCII; write a host's name as the network does (xn--...), a path with %"
    if "@" in parts.netloc:
        return f"holds a name before the host; a server's key goes into the variable {KEY}"
    return None


def require_lora(model: PreTrainedModel) -> None:
    """Refuse what a server's loader of adapters does not take, or would take for something else.

    vLLM reads PEFT's LoRA without magnitudes (DoRA) and without heads, and scales every module by the one alpha and
    rank of the file, whatever its patterns say.
    """
    name, methods = adapter_of(model)
    if format_for(methods, model, name) is not lora or added_tokens(model) is not None:
        learned = " and ".join(type(method).__name__ for method in methods)
        tokens = " with new tokens" if added_tokens(model) is not None else ""
        raise Refusal(
            f"rollout.backend = http: a server loads LoRA's products of two factors, and {learned}{tokens} learns "
            "something else; use method lora, rslora, lora_plus or pissa, or rollout.backend=torch"
        )
    if len({adapter.scaling for _, _, parts in lora.modules(model, name) for _, adapter, _ in parts}) > 1:
        raise Refusal(
            "rollout.backend = http: a server scales all modules alike, and the methods here differ in alpha / rank; "
            "use the same, or rollout.backend=torch"
        )


BACKEND = Http

"""A server with OpenAI's interface for completions and vLLM's for adapters, asked over HTTP."""

import json
import os
from collections.abc import Sequence
from http.client import HTTPException
from time import sleep
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from accorda.errors import Refusal
from accorda.training.guard import Unreachable

KEY = "ACCORDA_ROLLOUT_KEY"
"""The environment variable that holds the server's key, where it asks for one."""
WAITS = (1.0, 4.0)
"""Seconds before a request for answers is tried again where the line broke; an answer that says no is not retried."""
LONGEST = 300  # characters of what a server says


class Server:
    """Every request raises `Unreachable`, with one line, where the server is not there or says no."""

    def __init__(self, url: str, timeout: float) -> None:
        self.url, self.timeout = url.rstrip("/").removesuffix("/v1"), timeout

    def models(self) -> list[dict[str, Any]]:
        """What is served: `id` of each, `parent` of an adapter, `max_model_len` where the server tells it."""
        listed = self.ask("/v1/models")
        found = listed.get("data") if isinstance(listed, dict) else None
        if not isinstance(found, list) or not all(isinstance(one, dict) and "id" in one for one in found):
            raise self.fault("/v1/models lists no models; name an OpenAI-compatible server")
        return found

    def load(self, name: str, folder: str) -> None:
        """Serve the adapter in a folder under a name."""
        self.ask("/v1/load_lora_adapter", {"lora_name": name, "lora_path": folder})

    def unload(self, name: str) -> None:
        """Serve it no longer."""
        self.ask("/v1/unload_lora_adapter", {"lora_name": name})

    def complete(self, fields: dict[str, Any]) -> Any:
        """Completions of one prompt."""
        return self.ask("/v1/completions", fields, WAITS)

    def ask(self, path: str, body: dict[str, Any] | None = None, waits: Sequence[float] = ()) -> Any:
        """What the server says to a request, read as JSON; its text where it is none."""
        headers = {"Content-Type": "application/json"}
        if secret := key():
            headers["Authorization"] = f"Bearer {secret}"
        data = None if body is None else json.dumps(body).encode()
        for wait in (*waits, None):
            try:
                with urlopen(Request(self.url + path, data, headers), timeout=self.timeout) as answer:
                    return read(answer.read())
            except HTTPError as error:
                with error:
                    said = message(read(error.read()))
                raise self.fault(f"{path} says {error.code}: {said}") from None
            except (HTTPException, OSError, UnicodeError) as error:  # a label of the host that is empty or too long
                if wait is None:
                    reason = error.reason if isinstance(error, URLError) else error
                    raise self.fault(f"no answer from {path}: {reason or type(error).__name__}") from None
                sleep(wait)
        raise AssertionError("the last try returns or raises")

    def fault(self, what: str) -> Unreachable:
        """What is wrong, in one line that names the server."""
        return Unreachable(f"rollout.url = {self.url}: {' '.join(what.split())}")


def key() -> str | None:
    """The key of the environment.

    Raises:
        Refusal: no header can carry it; it is not shown.
    """
    found = os.environ.get(KEY)
    if found and not (found.isascii() and found.isprintable()):
        raise Refusal(f"{KEY}: holds a line break or another character that no key has; set it anew")
    return found


def read(content: bytes) -> Any:
    """JSON, or the text that is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return content.decode(errors="replace")


def message(said: Any) -> str:
    """What a refusal of the server says, wherever in it that stands."""
    while isinstance(said, dict):
        inner = next((said[key] for key in ("error", "message", "detail") if key in said), None)
        said = json.dumps(said) if inner is None else inner
    return str(said)[:LONGEST] or "nothing"

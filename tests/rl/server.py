"""A small server of completions with vLLM's interface for adapters: accorda's own generation behind http.server."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from accorda.generation.sample import generate
from accorda.methods.install import remove
from accorda.methods.routing import use
from accorda.methods.storage import load_adapter
from accorda.models.load import load_model

BASE = "base"
Spoil = Callable[[str, dict[str, Any], Any], Any]
"""What a test makes of (path, request, answer): another answer; one that raises breaks the line."""


class Refused(Exception):
    """An answer with another status than 200."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class SmallServer:
    """One base with the adapters it was told to load. `seen` holds every request, `loaded` the names there are."""

    def __init__(self, folder: Path):
        self.model = load_model(folder)
        self.loaded: list[str] = []
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.spoil: Spoil = lambda path, body, answer: answer
        self.refuses: dict[str, tuple[int, str]] = {}
        self.key: str | None = None
        self._lock = Lock()
        self.url = ""

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        with self._lock:
            self.seen.append((path, body))
            if path in self.refuses:
                raise Refused(*self.refuses[path])
            found = {
                "/v1/models": self.models,
                "/v1/load_lora_adapter": self.load,
                "/v1/unload_lora_adapter": self.unload,
                "/v1/completions": self.complete,
            }[path](body)
            return self.spoil(path, body, found)

    def models(self, body: dict[str, Any]) -> Any:
        base = {"id": BASE, "parent": None, "max_model_len": self.model.config.max_position_embeddings}
        return {"object": "list", "data": [base, *({"id": name, "parent": BASE} for name in self.loaded)]}

    def load(self, body: dict[str, Any]) -> Any:
        name = body["lora_name"]
        if name in self.loaded:
            raise Refused(400, f"The lora adapter '{name}' has already been loaded.")
        load_adapter(self.model, body["lora_path"], name.replace(".", "-"))
        self.loaded.append(name)
        return f"Success: LoRA adapter '{name}' added successfully."

    def unload(self, body: dict[str, Any]) -> Any:
        name = body["lora_name"]
        if name not in self.loaded:
            raise Refused(404, f"The lora adapter '{name}' cannot be found.")
        self.loaded.remove(name)
        remove(self.model, name)
        return f"Success: LoRA adapter '{name}' removed successfully."

    def complete(self, body: dict[str, Any]) -> Any:
        name = body["model"]
        if name not in (BASE, *self.loaded):
            raise Refused(404, f"The model `{name}` does not exist.")
        with use(self.model, None if name == BASE else name):
            found = generate(
                self.model,
                [body["prompt"]],
                stop_ids=body["stop_token_ids"],
                num_samples=body["n"],
                seeds=[(body["seed"],)],
                batch_size=body["n"],
                max_new_tokens=body["max_tokens"],
                temperature=body["temperature"],
            )
        choices = [
            {
                "index": index,
                "text": "",
                "finish_reason": "stop" if one.stopped else "length",
                "token_ids": one.token_ids,
                "prompt_token_ids": body["prompt"],
                "logprobs": {
                    "tokens": [f"token_id:{token}" for token in one.token_ids],
                    "token_logprobs": one.drawn_log_probs,
                },
            }
            for index, one in enumerate(found)
        ]
        return {"object": "text_completion", "model": name, "choices": choices}


@contextmanager
def serving(folder: Path) -> Iterator[SmallServer]:
    """A server of the model in a folder, in a thread, until the block ends."""
    small = SmallServer(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            try:
                if small.key and self.headers.get("Authorization") != f"Bearer {small.key}":
                    raise Refused(401, "Unauthorized")
                status, said = 200, small.answer(self.path, body)
            except Refused as refused:
                status, said = refused.status, {"error": {"message": str(refused)}}
            content = (said if isinstance(said, str) else json.dumps(said)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is written."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *told: None  # a line that a test broke
        small.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield small
        finally:
            server.shutdown()
            thread.join()

"""Which chat template `data.template` means for a tokenizer."""

from datetime import date
from pathlib import Path
from typing import Any

from accorda.data.chat import PLAIN, ChatTemplate, built_in
from accorda.data.tokens import Tokens
from accorda.errors import Refusal


def choose_template(tokens: Tokens, name: str) -> ChatTemplate:
    """`auto` (the tokenizer's own, else the plain built-in one), a built-in one by name, or a `.jinja` file."""
    own = tokens.tokenizer.chat_template
    if name == "auto" and own:
        return _made(tokens, "tokenizer", *_own(own))
    if name == "auto":
        name = PLAIN
    if name.endswith(".jinja"):
        return _made(tokens, Path(name).name, _file(name), None)
    if name not in built_in():
        raise Refusal(
            f"data.template: {name}: templates are auto, {', '.join(built_in())}, or a file that ends in .jinja"
        )
    bos, source = tokens.tokenizer.bos_token, built_in()[name]
    if bos and tokens.prefix == [tokens.tokenizer.bos_token_id]:
        source = "{{- bos_token }}" + source  # so that other programs that get this template write it, too
    return _made(tokens, name, source, None)


def _made(tokens: Tokens, name: str, source: str, tool_source: str | None) -> ChatTemplate:
    template = ChatTemplate(name, source, tool_source, tokens.tokenizer.special_tokens_map)
    dated = template.mentions("strftime_now") or (tool_source is not None and template.mentions("strftime_now", [1]))
    return ChatTemplate(name, source, tool_source, template.variables, date.today() if dated else None)


def _own(own: Any) -> tuple[str, str | None]:
    if isinstance(own, str):
        return own, None
    if "default" not in own:
        raise Refusal(f"data.template: the tokenizer has the templates {', '.join(sorted(own))} and no default one")
    return own["default"], own.get("tool_use")


def _file(name: str) -> str:
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"data.template: {name}: cannot be read: {error}") from None

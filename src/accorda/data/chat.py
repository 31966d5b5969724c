"""Chat templates: a conversation to text, in Jinja's sandbox, with nothing that changes from day to day."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from accorda.data.example import RowError
from accorda.errors import Refusal

PLAIN = "plain"
"""The built-in template that needs no token but the end-of-sequence one."""
OPEN, CLOSE = "\ue0f1", "\ue0f2"
"""Two characters of the private use area that stand around what a template marks as generated."""


class Generation(Extension):
    """`{% generation %} ... {% endgeneration %}`, by which a template tells what the model itself wrote."""

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The body between the two marks."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        opening, closing = (nodes.Output([nodes.TemplateData(mark)], lineno=line) for mark in (OPEN, CLOSE))
        return [opening, *body, closing]


Generation.tags = {"generation"}


def _environment(day: date | None) -> ImmutableSandboxedEnvironment:
    def refuse(message: str) -> None:
        raise TemplateError(message)

    def to_json(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )  # Jinja's own filter escapes HTML

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    if day is not None:
        environment.globals["strftime_now"] = day.strftime
    return environment


@lru_cache
def _compile(source: str, day: date | None) -> Template:
    return _environment(day).from_string(source)


@dataclass(frozen=True)
class ChatTemplate:
    """A template's source, and the source for rows with tools where there are two.

    `variables` are the special tokens it may write. `day` is what `strftime_now` tells, fixed when the renderer was
    made, so that tokens do not change overnight.
    """

    name: str
    source: str
    tool_source: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    day: date | None = None

    def of(self, tools: Sequence[Any]) -> str:
        """The source that a row with or without tools is rendered by."""
        return self.tool_source if tools and self.tool_source else self.source

    def _compiled(self, tools: Sequence[Any]) -> Template:
        try:
            return _compile(self.of(tools), self.day)
        except TemplateError as error:
            raise Refusal(f"template {self.name}: line {getattr(error, 'lineno', '?')}: {error}") from None

    def mentions(self, word: str, tools: Sequence[Any] = ()) -> bool:
        """Whether the source reads something of that name."""
        return re.search(rf"\b{word}\b", self.of(tools)) is not None

    def render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = (), *, add_generation_prompt: bool = False
    ) -> str:
        """The text, with `OPEN` and `CLOSE` around what the template marks as generated."""
        compiled = self._compiled(tools)
        try:
            return compiled.render(
                **self.variables,
                messages=messages,
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
            )
        except Exception as error:  # a template divides by zero and calls itself as any code does
            reason = " ".join(str(error).split()) or type(error).__name__
            raise RowError(f"the template ({self.name}) cannot show it: {reason}") from None


def plain(rendered: str) -> str:
    """The text without marks."""
    return rendered.replace(OPEN, "").replace(CLOSE, "")


def marked(rendered: str) -> list[tuple[int, int]]:
    """The spans of the plain text that the template marks as generated."""
    spans, at, start = [], 0, 0
    for piece in re.split(f"([{OPEN}{CLOSE}])", rendered):
        if piece == OPEN:
            start = at
        elif piece == CLOSE:
            spans.append((start, at))
        else:
            at += len(piece)
    return spans


@cache
def built_in() -> dict[str, str]:
    """The templates that come with the package, by name."""
    folder = files("accorda.data") / "templates"
    found = {item.name: item for item in folder.iterdir() if item.name.endswith(".jinja")}
    return {name.removesuffix(".jinja"): found[name].read_text(encoding="utf-8") for name in sorted(found)}

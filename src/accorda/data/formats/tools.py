"""Tool schemas and tool calls as chat templates read them."""

import json
from collections.abc import Mapping
from typing import Any

from accorda.data.example import RowError
from accorda.data.formats.fields import Row, kind_of, parsed


def schemas(row: Row) -> tuple[dict[str, Any], ...]:
    """The row's `tools`, each {"type": "function", "function": {...}}; a bare schema is wrapped, JSON text parsed."""
    value = row.get("tools")
    if value is None or value == "":
        return ()
    value = parsed(value, "tools")
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise RowError(f"'tools' is {kind_of(value)}, not a list of objects")
    return tuple(dict(tool) if "function" in tool else {"type": "function", "function": dict(tool)} for tool in value)


def calls(value: object) -> tuple[dict[str, Any], ...]:
    """Tool calls, each {"type": "function", "function": {"name", "arguments"}} with arguments as an object.

    Takes a list or one call, bare ({"name", "arguments"}) or wrapped, with arguments as an object or as its JSON text.
    """
    listed = value if isinstance(value, list) else [value]
    return tuple(_call(call) for call in listed)


def _call(call: object) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else call
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise RowError(f"a tool call is {kind_of(call)} without a name: {json.dumps(call, default=str)[:60]}")
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            raise RowError(f"the arguments of the tool call {function['name']!r} are no JSON") from None
    identity = {"id": call["id"]} if isinstance(call, Mapping) and isinstance(call.get("id"), str) else {}
    return {**identity, "type": "function", "function": {"name": function["name"], "arguments": arguments}}

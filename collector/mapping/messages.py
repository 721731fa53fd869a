"""One readable shape of messages: a JSON array of {role, content | parts, tool_calls…}."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from collector.mapping.dialects.dialect import View
from collector.mapping.values import parse_json

MAX_ITEMS = 10_000
"""Items that are rebuilt of one flattened list; what lies beyond stays in the attributes alone."""
MAX_PARTS = 12
"""Levels of a flattened name; what lies deeper keeps its dots."""
ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
CHOICE = "gen_ai.choice"
DETAILS = "gen_ai.client.inference.operation.details"
MESSAGE_FIELDS = ("role", "content", "tool_calls", "name", "id", "tool_call_id", "finish_reason", "tool.result")


class Event(msgspec.Struct):
    """A span event or a log record that may carry messages of a conversation."""

    name: str
    attributes: Mapping[str, Any]
    body: Any = None


def carries_messages(event_name: str | None) -> bool:
    return event_name is not None and event_name.startswith("gen_ai.")


def conversation(events: Iterable[Event]) -> tuple[list[Any], list[Any]]:
    """The messages that went in and came out, from events in the order they happened."""
    sent: list[Any] = []
    answered: list[Any] = []
    for event in events:
        found = event.attributes
        if event.name == DETAILS:
            details = {**found, **event.body} if isinstance(event.body, dict) else found
            whole = with_system(details.get("gen_ai.system_instructions"), details.get("gen_ai.input.messages"))
            sent = whole or sent
            answered = as_list(details.get("gen_ai.output.messages")) or answered
        elif event.name in ROLES:
            sent.append(_message(event, ROLES[event.name]))
        elif event.name == CHOICE:
            answered.append(_message(event, "assistant"))
        elif event.name == "gen_ai.content.prompt":
            sent.extend(as_list(found.get("gen_ai.prompt")))
        elif event.name == "gen_ai.content.completion":
            answered.extend(as_list(found.get("gen_ai.completion")))
    return sent, answered


def _message(event: Event, role: str) -> dict[str, Any]:
    """A message from an event's body, from one attribute that holds it as JSON, or from attributes of its own."""
    body = decoded(event.attributes.get("gen_ai.event.content") if event.body is None else event.body)
    fields = {**event.attributes, **body} if isinstance(body, dict) else {**event.attributes}
    if body is not None and not isinstance(body, dict):
        fields["content"] = body
    inner = decoded(fields.get("message"))
    if isinstance(inner, dict):
        fields |= inner
    elif inner is not None:
        fields["content"] = inner
    told = {name: decoded(fields[name]) for name in MESSAGE_FIELDS if fields.get(name) is not None}
    return {"role": role, **told}


def rebuild(view: View, prefix: str, besides: Collection[str] = ()) -> list[dict[str, Any]]:
    """Lists that were flattened into indexed names, as nested dicts in the order of their indices.

    `prefix.3.a.b` becomes item 3's {"a": {"b": …}}. Nothing is allocated by an index, so one that starts at 1 or
    jumps to a billion costs what it holds. Names in `besides` are known to be no items.
    """
    items: dict[int, dict[str, Any]] = {}
    start = len(prefix)
    for key, value in view.attributes.items():
        if not key.startswith(prefix):
            continue
        digits, _, rest = key[start:].partition(".")
        if digits in besides:
            continue
        index = index_of(digits)
        if index is None or (index not in items and len(items) >= MAX_ITEMS):
            view.notes.warn(f"some of {prefix}* could not be put in order: see the attributes")
        else:
            _put(items.setdefault(index, {}), rest, value)
    return [items[index] for index in sorted(items)]


def index_of(digits: str) -> int | None:
    return int(digits) if len(digits) < 12 and digits.isascii() and digits.isdigit() else None


def _put(item: dict[str, Any], path: str, value: Any) -> None:
    parts = path.split(".", MAX_PARTS)
    for part in parts[:-1]:
        inner = item.get(part)
        if not isinstance(inner, dict):
            inner = item[part] = {}
        item = inner
    item[parts[-1]] = value


def in_order(value: Any) -> list[Any]:
    """The items of a rebuilt list ({"0": …, "1": …}) by their index."""
    if not isinstance(value, Mapping):
        return []
    indexed = [(index, item) for key, item in value.items() if (index := index_of(key)) is not None]
    return [item for _, item in sorted(indexed, key=lambda pair: pair[0])]


def with_system(system: Any, messages: Any) -> list[Any]:
    """The messages with the system instructions, which some senders keep apart, in front; none without messages."""
    found, parts = as_list(messages), as_list(system)
    return [{"role": "system", "parts": parts}, *found] if parts and found else found


def as_list(value: Any) -> list[Any]:
    """Messages from a JSON text, a structure or a plain text."""
    value = decoded(value)
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def decoded(value: Any) -> Any:
    """A structure that was sent as JSON text."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        found = parse_json(value)
        return value if found is None else found
    return value


def split_dialogue(events: Any) -> tuple[list[Any], list[Any]]:
    """What went in and what came out, from a list of messages that name their event."""
    sent: list[Any] = []
    answered: list[Any] = []
    for event in events if isinstance(events, list) else ():
        if not isinstance(event, dict):
            continue
        name = event.get("event.name")
        fields = {key: value for key, value in event.items() if key not in ("event.name", "gen_ai.message.index")}
        if name == CHOICE:
            answered.append(fields.get("message", fields))
        elif name in ROLES:
            sent.append({"role": ROLES[name], **fields})
    return sent, answered

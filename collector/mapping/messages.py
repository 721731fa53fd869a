"""One readable shape of messages: a JSON array of {role, content | parts, tool_calls…}."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from collector.mapping.dialects.dialect import Attributes
from collector.mapping.values import parse_json

MAX_MESSAGES = 10_000
"""Messages (or parts, or calls) that are rebuilt of one list; what lies beyond stays in the attributes alone."""


def rebuild(attributes: Attributes, prefix: str) -> list[dict[str, Any]]:
    """Lists that were flattened into indexed names, as nested dicts in the order of their indices.

    `prefix.3.a.b` becomes the item 3's {"a": {"b": …}}. Nothing is allocated by an index, and an item that is only
    named by a huge one is still found.
    """
    items: dict[int, dict[str, Any]] = {}
    start = len(prefix)
    for key, value in attributes.items():
        if not key.startswith(prefix):
            continue
        index, _, rest = key[start:].partition(".")
        if not (index.isdecimal() and len(index) < 10) or (len(items) >= MAX_MESSAGES and int(index) not in items):
            continue
        _put(items.setdefault(int(index), {}), rest, value)
    return [items[index] for index in sorted(items)]


def _put(item: dict[str, Any], path: str, value: Any) -> None:
    parts = path.split(".", 12)
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
    indexed = [(int(key), item) for key, item in value.items() if key.isdecimal() and len(key) < 10]
    return [item for _, item in sorted(indexed, key=lambda pair: pair[0])]


class Event(msgspec.Struct):
    """A span event or a log record that may carry messages of a conversation."""

    name: str
    attributes: Attributes
    body: Any = None


DETAILS = "gen_ai.client.inference.operation.details"
ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
MESSAGE_FIELDS = ("role", "content", "tool_calls", "name", "id", "finish_reason")


def carries_messages(event_name: str | None) -> bool:
    return event_name is not None and event_name.startswith("gen_ai.")


def conversation(events: Iterable[Event]) -> tuple[list[Any], list[Any]]:
    """The messages that went in and came out, from events in the order they happened."""
    sent: list[Any] = []
    answered: list[Any] = []
    for event in events:
        if event.name == DETAILS:
            details = {**event.attributes, **(event.body if isinstance(event.body, dict) else {})}
            sent = with_system(details.get("gen_ai.system_instructions"), details.get("gen_ai.input.messages")) or sent
            answered = as_list(details.get("gen_ai.output.messages")) or answered
        elif event.name in ROLES:
            sent.append(_message(event, ROLES[event.name]))
        elif event.name == "gen_ai.choice":
            answered.append(_message(event, "assistant"))
        elif event.name == "gen_ai.content.prompt":
            sent.extend(as_list(event.attributes.get("gen_ai.prompt")))
        elif event.name == "gen_ai.content.completion":
            answered.extend(as_list(event.attributes.get("gen_ai.completion")))
    return sent, answered


def with_system(system: Any, messages: Any) -> list[Any]:
    """The messages with the system instructions, which some senders keep apart, in front."""
    parts = as_list(system)
    return ([{"role": "system", "parts": parts}] if parts else []) + as_list(messages)


def as_list(value: Any) -> list[Any]:
    """Messages from a JSON text, a structure or a plain text."""
    if isinstance(value, str):
        value = (parse_json(value) if value[:1] in ("[", "{") else None) or value
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def _message(event: Event, role: str) -> dict[str, Any]:
    body = event.body if isinstance(event.body, dict) else {}
    fields = {**event.attributes, **body}
    if event.body is not None and not body:
        fields["content"] = event.body
    inner = _decoded(fields.get("message"))
    if isinstance(inner, dict):
        fields.update(inner)
    elif inner is not None:
        fields["content"] = inner
    message = {"role": role}
    for name in MESSAGE_FIELDS:
        if (value := fields.get(name)) is not None:
            message[name] = _decoded(value)
    return message


def _decoded(value: Any) -> Any:
    """A structure that was sent as JSON text."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        return parse_json(value) or value
    return value

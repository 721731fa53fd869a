"""Readers that several dialects share."""

from typing import Any

from collector.mapping.dialects.dialect import Composed, View
from collector.mapping.token_counts import tokens_of
from collector.mapping.values import any_json, json_text, number, parse_json
from collector.model import StepError

REDACTED = "<REDACTED>"
MAX_METADATA = 200
"""Entries of metadata that are collected from single attributes."""


def parsed(value: Any) -> Any:
    """What a text of JSON holds; anything else as it is."""
    if isinstance(value, str) and value[:1] in ("{", "[", '"'):
        found = parse_json(value)
        return value if found is None else found
    return value


def quoted(key: str) -> Composed:
    """A text that some senders wrap as JSON (`"sunny"`): what it holds. Structures are left to be moved as they are."""

    def read(view: View) -> str | None:
        value = view.attributes[key]
        return value if type(value) is str and value[:1] == '"' and parse_json(value) not in (None, "") else None

    return Composed((key,), read)


def shown(key: str, *blanks: str) -> Composed:
    """An attribute whose text may be a blank that stands for nothing."""

    def read(view: View) -> str | None:
        value = view.attributes[key]
        return None if value in blanks or value in ("", None, [], {}) else any_json(value)

    return Composed((key,), read)


def joined(*keys: str, role: str | None = None) -> Composed:
    """Several attributes that belong together, as one object under the last parts of their names."""

    def read(view: View) -> str | None:
        found = {key.rpartition(".")[2]: parsed(view.attributes[key]) for key in keys if view.attributes.get(key)}
        return json_text({"role": role, **found} if role else found) if found else None

    return Composed(keys, read)


def ending(start: str, end: str) -> Composed:
    """The first attribute with this start and end, whatever (a kind, a provider) its name has between."""

    def read(view: View) -> str | None:
        for key, value in view.attributes.items():
            if key.startswith(start) and key.endswith(end) and value not in (None, ""):
                return json_text(parsed(value))
        return None

    return Composed((start,), read)


def token_map(key: str, exclusive: bool = False) -> Composed:
    def read(view: View) -> Any:
        return tokens_of(parsed(view.attributes[key]), view.notes, exclusive)

    return Composed((key,), read)


def cost_map(key: str) -> Composed:
    """A map of costs: its total, else the sum of its parts."""

    def read(view: View) -> float | None:
        costs = parsed(view.attributes[key])
        if not isinstance(costs, dict):
            return number(costs, key, view.notes)
        for name in ("total", "total_cost", "totalCost"):
            if costs.get(name) is not None:
                return number(costs[name], key, view.notes)
        parts = [number(value, key, view.notes) for value in costs.values()]
        return sum(part for part in parts if part is not None) if costs else None

    return Composed((key,), read)


def metadata_below(*prefixes: str) -> Composed:
    """Single attributes below a prefix as one object; one that has the prefix's own name holds it whole."""

    def read(view: View) -> str | None:
        found: dict[str, Any] = {}
        for prefix in prefixes:
            whole = parsed(view.attributes.get(prefix[:-1]))
            found |= whole if isinstance(whole, dict) else {}
            for key, value in view.attributes.items():
                if key.startswith(prefix) and value not in (None, "") and len(found) < MAX_METADATA:
                    found.setdefault(key[len(prefix) :], parsed(value))
        return json_text(found) if found else None

    return Composed((*prefixes, *(prefix[:-1] for prefix in prefixes)), read)


def metadata_in(key: str) -> Composed:
    """An attribute that holds an object, or JSON text of one."""

    def read(view: View) -> str | None:
        found = parsed(view.attributes[key])
        return json_text(found) if isinstance(found, dict) else None

    return Composed((key,), read)


def tag_list(value: Any) -> list[str] | None:
    """Tags from an array, from JSON text of one, or from a text with commas."""
    value = parsed(value)
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    return [tag for tag in value if isinstance(tag, str) and tag] or None if isinstance(value, list) else None


def tags_in(key: str) -> Composed:
    return Composed((key,), lambda view: tag_list(view.attributes[key]))


def unquoted(key: str) -> Composed:
    """A label that comes as JSON text (`"gpt-4o"`)."""

    def read(view: View) -> Any:
        value = parsed(view.attributes[key])
        return value if isinstance(value, str) else None

    return Composed((key,), read)


def member_of(key: str, name: str) -> Composed:
    """A label inside of an attribute that holds an object, or JSON text of one."""

    def read(view: View) -> Any:
        found = parsed(view.attributes[key])
        return found.get(name) if isinstance(found, dict) else None

    return Composed((key,), read)


def milliseconds(key: str, per_unit: float = 1) -> Composed:
    def read(view: View) -> float | None:
        found = number(view.attributes[key], key, view.notes)
        return None if found is None else found * per_unit

    return Composed((key,), read)


def failed_when(
    key: str, values: tuple[Any, ...], message_key: str | None = None, type_key: str | None = None
) -> Composed:
    """An error where an attribute has one of these values; other attributes may say more."""

    def read(view: View) -> StepError | None:
        if view.attributes.get(key) not in values:
            return None
        told = [view.attributes.get(each) if each else None for each in (type_key, message_key)]
        return StepError(*(text if isinstance(text, str) and text else None for text in told))

    return Composed((key,), read)


def told_error(message_key: str, type_key: str | None = None) -> Composed:
    """An error where an attribute holds its message."""

    def read(view: View) -> StepError | None:
        message = view.attributes[message_key]
        if not isinstance(message, str) or not message:
            return None
        kind = view.attributes.get(type_key) if type_key else None
        return StepError(None if kind in (None, "") else str(kind), message)

    return Composed((message_key,), read)

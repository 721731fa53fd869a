"""Values that are nested too deeply to keep their form: their content as JSON text."""

import base64
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from collector.receiver.json_text import json_text
from collector.receiver.wire import BYTES, fields

DEEPEST = 200
"""Below this the text says null: nothing but an attack is nested so deeply."""

STRING, ARRAY, KVLIST, BYTES_VALUE = 1, 5, 6, 7


def text_of_json(entry: Any) -> str:
    """The JSON text of an OTLP/JSON AnyValue."""
    return json_text(_plain_json(entry, DEEPEST))


def _plain_json(entry: Any, depth: int) -> Any:
    if not isinstance(entry, dict) or depth == 0:
        return None
    for key, value in entry.items():
        word = key.replace("_", "").lower()
        if word == "arrayvalue":
            return [_plain_json(item, depth - 1) for item in _values(value)]
        if word == "kvlistvalue":
            return {str(item.get("key")): _plain_json(item.get("value"), depth - 1) for item in _values(value)}
        if word in ("stringvalue", "intvalue", "doublevalue", "boolvalue", "bytesvalue"):
            return value
    return None


def _values(value: Any) -> list[dict[str, Any]]:
    values = value.get("values") if isinstance(value, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


def text_of_wire(data: bytes | memoryview) -> str:
    """The JSON text of a serialized AnyValue. Raises Malformed where it is none."""
    return json_text(_plain_wire(data, DEEPEST))


def _plain_wire(data: bytes | memoryview, depth: int) -> Any:
    if depth == 0:
        return None
    for number, wire_type, _, payload in fields(data):
        if wire_type != BYTES:
            continue
        if number == STRING:
            return str(payload, "utf-8", "replace")
        if number == ARRAY:
            return [_plain_wire(item, depth - 1) for item in _delimited(payload, 1)]
        if number == KVLIST:
            return dict(_pair(item, depth - 1) for item in _delimited(payload, 1))
        if number == BYTES_VALUE:
            return base64.b64encode(payload).decode()
    return _plain_number(data)


def _pair(data: memoryview, depth: int) -> tuple[str, Any]:
    key, value = "", None
    for part in _delimited(data, 1):
        key = str(part, "utf-8", "replace")
    for part in _delimited(data, 2):
        value = _plain_wire(part, depth)
    return key, value


def _delimited(data: memoryview, number: int) -> Iterator[memoryview]:
    return (field.payload for field in fields(data) if field.number == number and field.wire_type == BYTES)


def _plain_number(data: bytes | memoryview) -> Any:
    """The value of an AnyValue that is a bool, a number, or empty."""
    try:
        value = AnyValue.FromString(bytes(data))
    except DecodeError:
        return None
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind is not None else None

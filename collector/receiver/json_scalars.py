"""Single values of OTLP/JSON into protobuf fields."""

import base64
import binascii
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from collector.receiver.findings import BAD_TEXT, Notes
from collector.receiver.json_text import without_surrogates

Setter = Callable[[Any, Any, Notes], None]

ID_FIELDS = frozenset({"trace_id", "span_id", "parent_span_id"})
UNSIGNED_64, UNSIGNED_32 = (0, (1 << 64) - 1), (0, (1 << 32) - 1)
SIGNED_64, SIGNED_32 = (-(1 << 63), (1 << 63) - 1), (-(1 << 31), (1 << 31) - 1)

INTEGER_RANGES = {
    FieldDescriptor.TYPE_INT64: SIGNED_64,
    FieldDescriptor.TYPE_SINT64: SIGNED_64,
    FieldDescriptor.TYPE_SFIXED64: SIGNED_64,
    FieldDescriptor.TYPE_UINT64: UNSIGNED_64,
    FieldDescriptor.TYPE_FIXED64: UNSIGNED_64,
    FieldDescriptor.TYPE_INT32: SIGNED_32,
    FieldDescriptor.TYPE_SINT32: SIGNED_32,
    FieldDescriptor.TYPE_SFIXED32: SIGNED_32,
    FieldDescriptor.TYPE_UINT32: UNSIGNED_32,
    FieldDescriptor.TYPE_FIXED32: UNSIGNED_32,
}


class Misfit(Exception):
    """A value that its field can't hold; `reason` is the short word for the metric."""

    def __init__(self, message: str, reason: str = "value") -> None:
        super().__init__(message)
        self.reason = reason


def scalar_setter(field: FieldDescriptor) -> Setter:
    """Sets a field that is no message, with what the value needs to fit it."""
    name, kind = field.name, field.type
    if kind == FieldDescriptor.TYPE_BYTES:
        return _id_setter(field) if name in ID_FIELDS else _setter(name, lambda value, _: base64_bytes(value))
    if kind == FieldDescriptor.TYPE_STRING:
        return _setter(name, text)
    if kind == FieldDescriptor.TYPE_ENUM:
        return _enum_setter(field)
    if kind == FieldDescriptor.TYPE_BOOL:
        return _setter(name, lambda value, _: boolean(value))
    if kind in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return _setter(name, lambda value, _: double(value))
    return _clamping_setter(field)


def _setter(name: str, convert: Callable[[Any, Notes], Any]) -> Setter:
    def put(message: Any, value: Any, notes: Notes) -> None:
        setattr(message, name, convert(value, notes))

    return put


def _clamping_setter(field: FieldDescriptor) -> Setter:
    name, (least, most) = field.name, INTEGER_RANGES[field.type]

    def put(message: Any, value: Any, notes: Notes) -> None:
        number = integer(value)
        if not least <= number <= most:
            notes.append(f"{name} is outside of its range and was clamped")
            number = min(max(number, least), most)
        setattr(message, name, number)

    return put


def _enum_setter(field: FieldDescriptor) -> Setter:
    name, numbers = field.name, {value.name: value.number for value in field.enum_type.values}

    def put(message: Any, value: Any, notes: Notes) -> None:
        number = numbers.get(value) if isinstance(value, str) else None
        if number is None:
            number = integer(value)
        if not SIGNED_32[0] <= number <= SIGNED_32[1]:
            raise Misfit(f"{name} is no enum number")
        setattr(message, name, number)

    return put


def _id_setter(field: FieldDescriptor) -> Setter:
    """An id that is not hex costs its span; a parent or a link that is not is left out."""
    name = field.name
    optional = name == "parent_span_id" or field.containing_type.name == "Link"

    def put(message: Any, value: Any, notes: Notes) -> None:
        try:
            setattr(message, name, hex_id(value))
        except ValueError:
            if not optional:
                raise Misfit(f"{name} must be hex digits (OTLP/JSON does not use base64 for ids)", name) from None
            notes.append(f"{name} is not hex and was left out")

    return put


def hex_id(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError("no text")  # noqa: TRY004 - its callers ask one question: hex or not
    return binascii.unhexlify(value)


def text(value: Any, notes: Notes) -> str:
    if not isinstance(value, str):
        raise Misfit("a string is expected")
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        notes.append(BAD_TEXT)
        return without_surrogates(value)
    return value


def integer(value: Any) -> int:
    """A whole number, from a number or its decimal text, exact."""
    if isinstance(value, bool):
        raise Misfit("a number is expected, not true or false")
    if isinstance(value, int):
        return value
    if isinstance(value, str) and len(value) <= 100:
        try:
            return int(value)
        except ValueError:
            value = double(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise Misfit("a 64-bit integer is expected, as a number or as decimal text")


def double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Misfit("a number is expected")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise Misfit('a number is expected, or "NaN", "Infinity", "-Infinity"') from None


def boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise Misfit("true or false is expected")


def base64_bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise Misfit("base64 text is expected")
    try:
        plain = value.replace("-", "+").replace("_", "/")
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        raise Misfit("a bytesValue must be base64") from None

"""The protobuf wire format, one message at a time, without copying: for what the parser refuses to read."""

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = 0, 1, 2, 3, 4, 5
MOST_GROUPS = 60
"""How deep groups may lie in each other: OTLP has none, and no message may hold unknown ones without end."""


class Malformed(Exception):
    """Bytes that are no protobuf message: a length past the end, an unknown wire type."""


class Field(NamedTuple):
    number: int
    wire_type: int
    raw: memoryview
    """Tag and value, as they stand."""
    payload: memoryview
    """What is inside a length-delimited field; the value's bytes of the others."""


def fields(data: bytes | memoryview) -> Iterator[Field]:
    """The fields of a message in order. Raises Malformed where it breaks off."""
    view, at, end = memoryview(data), 0, len(data)
    while at < end:
        start = at
        number, wire_type, at = _tag(view, at)
        begin, at = _group(view, at, number) if wire_type == GROUP else _skip(view, at, wire_type)
        if at > end:
            raise Malformed
        yield Field(number, wire_type, view[start:at], view[begin:at])


def _tag(view: memoryview, at: int) -> tuple[int, int, int]:
    """A field's number and wire type, and where its value begins."""
    tag, at = _varint(view, at)
    if tag >> 3 == 0:
        raise Malformed
    return tag >> 3, tag & 7, at


def _group(view: memoryview, at: int, number: int) -> tuple[int, int]:
    """Where a group's fields begin, and where its end tag ends. Parsers skip groups that they don't know."""
    begin, open_groups = at, [number]
    while open_groups:
        inner, wire_type, at = _tag(view, at)
        if wire_type == GROUP:
            open_groups.append(inner)
        elif wire_type != END_GROUP:
            _, at = _skip(view, at, wire_type)
        elif inner != open_groups.pop():
            raise Malformed
        if len(open_groups) > MOST_GROUPS or at > len(view):
            raise Malformed
    return begin, at


def _skip(view: memoryview, at: int, wire_type: int) -> tuple[int, int]:
    """Where a value's payload begins and ends."""
    if wire_type == BYTES:
        length, at = _varint(view, at)
        return at, at + length
    if wire_type == VARINT:
        return at, _varint(view, at)[1]
    if wire_type == FIXED64:
        return at, at + 8
    if wire_type == FIXED32:
        return at, at + 4
    raise Malformed


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise Malformed
        byte = view[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
    raise Malformed


def delimited(number: int, payload: bytes) -> bytes:
    """A length-delimited field, written."""
    return varint(number << 3 | BYTES) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

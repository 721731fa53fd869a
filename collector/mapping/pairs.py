"""Attributes from their bytes: what span after span repeats is looked up, the rest is read."""

from collections.abc import Sequence
from struct import Struct
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from collector.mapping.values import DUPLICATE_NOTE, Notes, pair_value

Pair = tuple[str, Any]

LONGEST = 129
"""Bytes of a pair up to which each length in it takes one byte."""
MOST_VALUES = 64
"""Values remembered of one attribute: of methods and versions all, of ids and paths no more than these."""
MOST_PAIRS = 8192
KEY, VALUE, TEXT, WHOLE = 0x0A, 0x12, 0x0A, 0x18
"""Tags of a pair's fields, and of a value that is a text or a whole number (opentelemetry/proto/common/v1)."""
MOST_IN_TWO_BYTES = 0x4000 - 3
LENGTHS = Struct("<BHBH").unpack_from
"""How a value begins that is a long text: its tag and length, and those of the text in it."""
PLAIN = (str, int, float, bool)
_names: dict[bytes, str] = {}
known_names = _names.get


class Unreadable(ValueError):
    """An attribute's bytes are no KeyValue: text that is not UTF-8, values nested too deeply, a broken message."""


class Pairs:
    """Reads attributes and remembers some. Bounded; its memory changes how fast a pair is read, never what is read."""

    def __init__(self) -> None:
        self._known: dict[bytes, Pair] = {}
        self._values: dict[str, int] = {}

    def read(self, attributes: Sequence[bytes], notes: Notes) -> dict[str, Any]:
        """The attributes as a dict; of equal keys the last wins. Raises Unreadable."""
        known, new = self._known.get, self._new
        raws = attributes[:]  # at once: protobuf's list takes twice as long one by one
        try:
            found = dict(
                [
                    known(raw) or new(raw, notes) if len(raw) <= LONGEST else _long_text(raw) or _any_pair(raw, notes)
                    for raw in raws
                ]
            )
        except (DecodeError, UnicodeDecodeError):
            raise Unreadable from None
        if len(found) != len(raws):
            notes.altered(DUPLICATE_NOTE)
        return found

    def _new(self, raw: bytes, notes: Notes) -> Pair:
        pair = _short_pair(raw) or _any_pair(raw, notes)
        name, value = pair
        values = self._values.get(name, 0)
        if values < MOST_VALUES and type(value) in PLAIN and notes.exact:
            self._remember(raw, pair, values + 1)
        return pair

    def _remember(self, raw: bytes, pair: Pair, values: int) -> None:
        if len(self._known) >= MOST_PAIRS:
            self._known.clear()
            self._values.clear()
        self._known[raw] = pair
        self._values[pair[0]] = values


def _short_pair(raw: bytes) -> Pair | None:
    """A pair as encoders write it, whose value is a text or a whole number below 2^21; None for any other."""
    size = len(raw)
    try:
        at = raw[1] + 2
        if raw[0] != KEY or raw[at] != VALUE or raw[at + 1] != size - at - 2:
            return None
        tag = raw[at + 2]
        if tag == TEXT and raw[at + 3] == size - at - 4:
            return known_names(raw[2:at]) or _name(raw[2:at]), raw[at + 4 :].decode()
        if tag == WHOLE and raw[-1] < 0x80:
            if size == at + 4:
                return known_names(raw[2:at]) or _name(raw[2:at]), raw[-1]
            if size == at + 5 and raw[-2] >= 0x80:
                return known_names(raw[2:at]) or _name(raw[2:at]), raw[-2] - 0x80 + (raw[-1] << 7)
            if size == at + 6 and raw[-2] >= 0x80 and raw[-3] >= 0x80:
                return known_names(raw[2:at]) or _name(raw[2:at]), raw[-3] - 0x80 + (raw[-2] - 0x80 << 7) + (
                    raw[-1] << 14
                )
    except IndexError:
        pass
    return None


def _long_text(raw: bytes) -> Pair | None:
    """A pair as encoders write it, whose value is a text of 128 bytes to 16 kB; None for any other."""
    at = raw[1] + 2
    size = len(raw) - at - 6
    if raw[0] != KEY or at > LONGEST or not 0x80 <= size < MOST_IN_TWO_BYTES:
        return None
    value, outer, text, inner = LENGTHS(raw, at)
    # A varint of two bytes, read as one little-endian number.
    if inner != size & 0x7F | 0x80 | size >> 7 << 8 or outer != (size + 3) & 0x7F | 0x80 | size + 3 >> 7 << 8:
        return None
    if value != VALUE or text != TEXT:
        return None
    return known_names(raw[2:at]) or _name(raw[2:at]), raw[at + 6 :].decode()


def _name(raw: bytes) -> str:
    name = raw.decode()
    if len(_names) < MOST_PAIRS:
        _names[raw] = name
    return name


def _any_pair(raw: bytes, notes: Notes) -> Pair:
    pair = KeyValue.FromString(raw)
    value = pair.value
    return pair.key, value.string_value or value.int_value or pair_value(pair, notes)

"""OTLP values to Python and JSON text, and notes of what had to be altered on the way."""

import base64
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

MAX_DEPTH = 64
MAX_WARNINGS = 20
MAX_COUNT = 2**53
MAX_LABEL = 500
"""Characters of a text that goes into an index: 4 bytes each stay below what a B-tree page takes."""

TOO_DEEP_TEXT = "(nested too deeply to be shown here: see the attributes)"
check_json = msgspec.json.Decoder(msgspec.Raw).decode
"""Reads a JSON text without making anything of it; raises one of `NO_JSON` where it is none."""
NO_JSON = (msgspec.DecodeError, RecursionError)
REPLACED = "\ufffd"
NUL_NOTE = "NUL characters were replaced by U+FFFD"
DEPTH_NOTE = f"values nested deeper than {MAX_DEPTH} levels were cut"
DUPLICATE_NOTE = "several attributes had the same key: the last one counts"
INDEX_NOTE = "a value pointed into a string table that traces do not have"


class Notes:
    """What a reader must know of a span, and whether its columns can give it back exactly."""

    __slots__ = ("exact", "warnings")

    def __init__(self) -> None:
        self.exact = True
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def altered(self, text: str) -> None:
        """The stored value differs from what came: the span is kept as it came, too."""
        self.exact = False
        self.warnings.append(text)

    def dropped(self, attributes: int, events: int, links: int) -> None:
        """The sender itself dropped data; how much stands in no column."""
        self.exact = False
        for number, what in ((attributes, "attributes"), (events, "events"), (links, "links")):
            if number:
                self.warn(f"the sender dropped {number} {what}")

    def json(self, earlier: str | None = None) -> str | None:
        """The warnings as JSON text, after earlier ones: each once, and no more than a person would read."""
        if earlier is not None:
            self.warnings = [*orjson.loads(earlier), *self.warnings]
        if not self.warnings:
            return None
        texts = list(dict.fromkeys(self.warnings))
        if len(texts) > MAX_WARNINGS:
            texts[MAX_WARNINGS:] = [f"and {len(texts) - MAX_WARNINGS} warnings more"]
        return json_text(texts)


def read_attributes(pairs: Sequence[KeyValue], notes: Notes) -> dict[str, Any]:
    """The attributes as a dict; of equal keys the last wins."""
    found: dict[str, Any] = {}
    for pair in pairs:
        value = pair.value
        # Non-empty texts and non-zero integers are nearly all that comes: two cheap looks before the careful one.
        found[pair.key] = value.string_value or value.int_value or pair_value(pair, notes)
    if len(found) != len(pairs):
        notes.altered(DUPLICATE_NOTE)
    return found


def pair_value(pair: KeyValue, notes: Notes, depth: int = 0) -> Any:
    """The pair's value; no value at all reads like an empty one, and is written back as none."""
    if not pair.HasField("value"):
        notes.exact = False
    return any_value(pair.value, notes, depth)


def any_value(value: AnyValue, notes: Notes, depth: int = 0) -> Any:
    """A value as `orjson` can write it: bytes as base64 text, NaN and infinities as text, empty as None."""
    held = value.WhichOneof("value")
    if held is None:
        return None
    plain = getattr(value, held)
    if held in ("string_value", "int_value", "bool_value"):
        return plain
    if held == "double_value":
        return _double(plain, notes)
    if held == "bytes_value":
        notes.exact = False
        return base64.b64encode(plain).decode()
    if held == "string_value_strindex":
        notes.altered(INDEX_NOTE)
        return None
    return _nested(plain, held, notes, depth + 1)


def _double(number: float, notes: Notes) -> float | str:
    if math.isfinite(number):
        return number
    notes.exact = False
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def _nested(value: Any, held: str, notes: Notes, depth: int) -> Any:
    if depth > MAX_DEPTH:
        notes.altered(DEPTH_NOTE)
        return "…"
    if held == "array_value":
        return [any_value(each, notes, depth) for each in value.values]
    found = {pair.key: pair_value(pair, notes, depth) for pair in value.values}
    if len(found) != len(value.values):
        notes.altered(DUPLICATE_NOTE)
    return found


def json_text(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # it was itself read from a JSON text that is deeper than can be written
        return orjson.dumps(TOO_DEEP_TEXT).decode()


def parse_json(text: str) -> Any:
    """The value that a JSON text holds, or None where it is no JSON (or the text `null`)."""
    try:
        return orjson.loads(text)
    except ValueError:
        return None


def is_structure(text: str) -> bool:
    """Whether the text is a JSON object or array."""
    if text[:1] not in ("{", "["):
        return False
    try:
        check_json(text)
    except NO_JSON:
        return False
    return True


def text_as_json(text: str) -> str:
    """A text as a JSON value: unchanged where it is an object or array, else as a JSON string."""
    return text if is_structure(text) else json_text(text)


def any_json(value: Any) -> str | None:
    """A value as JSON text; a text that is JSON itself (of any kind) stands for what it holds."""
    if not isinstance(value, str):
        return None if value is None else json_text(value)
    found = parse_json(value)
    return json_text(value if found is None else found)


def moved_text(column: str) -> str:
    """The attribute's text again that `text_as_json` made a column of."""
    return column if column[:1] in ("{", "[") else str(orjson.loads(column))


def has_nul(text: str | None) -> bool:
    """Whether a JSON text may hold a NUL: exact enough to skip the walk where it says no."""
    # Most texts have no backslash at all, which is found out many times faster.
    return text is not None and "\\" in text and "\\u0000" in text


def without_nul(value: Any) -> Any:
    """The same value with every NUL replaced, in keys, too."""
    if isinstance(value, str):
        return value.replace("\x00", REPLACED)
    if isinstance(value, dict):
        return {key.replace("\x00", REPLACED): without_nul(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_nul(each) for each in value]
    return value


def clean_json(text: str) -> str:
    """A JSON text without NUL in any of its strings; the same object where there was none."""
    if not has_nul(text):
        return text
    value = parse_json(text)
    cleaned = without_nul(value)
    return text if cleaned == value else json_text(cleaned)


def label(value: Any, key: str, notes: Notes) -> str | None:
    """A short text for a column that is searched by; numbers become text, structures are left alone with a note."""
    if value is None or value == "":
        return None
    if isinstance(value, (list, dict)):
        notes.warn(f"{key} holds a structure where a text belongs")
        return None
    text = value if isinstance(value, str) else json_text(value)
    if len(text) > MAX_LABEL:
        notes.warn(f"{key} is {len(text)} characters long; its first {MAX_LABEL} are used as a label")
        text = text[:MAX_LABEL]
    return text


def count(value: Any, key: str, notes: Notes) -> int | None:
    """A number of tokens: whole, not negative; a text that spells one counts, too."""
    if isinstance(value, str):
        value = parse_json(value.strip()[:32])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT:
        return value
    if value is not None:
        notes.warn(f"{key} is not a number of tokens")
    return None


def number(value: Any, key: str, notes: Notes) -> float | None:
    """A finite number, also from a text that spells one."""
    if isinstance(value, str):
        value = parse_json(value.strip()[:64])
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if value is not None:
        notes.warn(f"{key} is not a number")
    return None

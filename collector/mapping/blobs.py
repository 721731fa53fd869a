"""Images, audio and files inside of messages: named with their type and size where a message is read.

The data itself stays in the attributes, once; a step's input and output are for people and models to read.
"""

import re
from typing import Any

from collector.mapping.values import json_text, parse_json

LEAST_CHARS = 2048
"""Shorter data is not worth a name."""
LEAST_TEXT = 8192
"""Shorter texts are not worth a look."""
DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?[^,]{0,100};base64,")
BASE64 = re.compile(r"[A-Za-z0-9+/_-]{512}")
TYPE_KEYS = ("mime_type", "media_type", "mimeType", "mediaType", "content_type", "format", "modality")
DATA_TYPES = frozenset(
    (
        "blob",
        "image",
        "audio",
        "video",
        "file",
        "image_url",
        "input_image",
        "input_audio",
        "input_file",
        "media",
        "base64",
    )
)


def without_blobs(text: str) -> str:
    """The JSON text with every blob's name in its place; the same object where there is none."""
    if text[:1] not in ("{", "["):
        return text
    value = parse_json(text)
    named = _named(value, "")
    return text if named is value else json_text(named)


def _named(value: Any, mime_type: str) -> Any:
    if isinstance(value, str):
        return _name(value, mime_type) or value
    if isinstance(value, list):
        items = [_named(each, "") for each in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if isinstance(value, dict):
        told = _type_of(value)
        fields = {key: _named(each, told) for key, each in value.items()}
        return value if all(fields[key] is each for key, each in value.items()) else fields
    return value


def _type_of(part: dict[str, Any]) -> str:
    """The type that a part tells of its data; empty where it tells of none."""
    for key in TYPE_KEYS:
        if isinstance(part.get(key), str):
            return str(part[key])[:100]
    kind = part.get("type")
    return kind if isinstance(kind, str) and kind in DATA_TYPES else ""


def _name(text: str, mime_type: str) -> str | None:
    if len(text) < LEAST_CHARS:
        return None
    url = DATA_URL.match(text)
    if url is None and not (mime_type and BASE64.match(text)):
        return None
    size_bytes = (len(text) - (url.end() if url else 0)) * 3 // 4 - text[-2:].count("=")
    return f"({(url and url[1]) or mime_type or 'data'}, {size_bytes} bytes)"

"""JSON text to Python values, as the decoders of OTLP/JSON need it: nothing that a peer may write is a crash."""

import json
from typing import Any

import orjson

from collector.errors import Rejected

TEXT_DEPTH = 200


def parse_json(body: bytes) -> dict[str, Any]:
    """The object in `body`. Bytes that are not UTF-8 stay as lone surrogates, for whoever reads the text to repair.

    Raises Rejected where there is no JSON object.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _parse_leniently(body)
    if not isinstance(document, dict):
        raise Rejected('An OTLP/JSON body is an object, such as {"resourceSpans": […]}.')
    return document


def _parse_leniently(body: bytes) -> Any:
    """The standard library reads what orjson refuses: lone surrogates, NaN, a byte order mark."""
    text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError:
        raise Rejected("The body is nested too deeply to be read.") from None
    except ValueError as error:
        where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise Rejected(f"The body is not valid JSON{where}.") from None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= 100 else float(digits)


def without_surrogates(text: str) -> str:
    """Text that can be encoded: each lone surrogate (or byte that was no UTF-8) becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def json_text(value: Any) -> str:
    """Any decoded value as JSON text; what is deeper than `TEXT_DEPTH` becomes null."""
    return orjson.dumps(_bounded(value, TEXT_DEPTH), option=orjson.OPT_NON_STR_KEYS).decode()


def _bounded(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return float(value)
    if depth == 0:
        return None
    if isinstance(value, dict):
        return {without_surrogates(str(key)): _bounded(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_bounded(item, depth - 1) for item in value]
    return value

"""Log records as events of the step that they name, or of the execution where no step is named: for readers."""

from collections.abc import Collection, Iterable
from typing import Any

import msgspec
import orjson

from collector.mapping.join import ERROR_SEVERITY, attributes_of, once
from collector.model import Record

MOST_EVENTS = 1000
"""Log records that are shown of one step, or of one execution."""
SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
"""OpenTelemetry's names: four numbers each, from 1 on."""


class Events(msgspec.Struct):
    """Events in the order of time, as JSON texts of one array, and how many log records are not among them."""

    text: str = "[]"
    left_out: int = 0


class Timed(msgspec.Struct):
    """All that is read of a span event here."""

    time_unix_nano: str


def events_of(span_events: str | None, records: Iterable[Record], unread: int = 0) -> Events:
    """Span events (a JSON array of them) and log records together; `unread` records were not even read."""
    ordered = once(records)
    if not ordered:
        return Events(span_events or "[]", unread)
    shown = sorted(ordered, key=lambda record: record.severity < ERROR_SEVERITY)[:MOST_EVENTS]
    own = msgspec.json.decode(span_events, type=list[msgspec.Raw]) if span_events else []
    timed = [(int(msgspec.json.decode(event, type=Timed).time_unix_nano), bytes(event).decode()) for event in own]
    timed += [(record.time_ns, event_json(record)) for record in once(shown)]
    timed.sort(key=lambda event: event[0])
    return Events(f"[{','.join(text for _, text in timed)}]", unread + len(ordered) - len(shown))


def without_step(records: Iterable[Record], span_ids: Collection[bytes]) -> list[Record]:
    """The records that name no span, or one that is not among the steps (it may come yet)."""
    return [record for record in records if record.span_id not in span_ids]


def event_json(record: Record) -> str:
    """The record in the shape of a span event; `source` tells them apart."""
    found: dict[str, Any] = {
        "name": record.event_name or attributes_of(record).get("event.name") or "log",
        "time_unix_nano": str(record.time_ns),
        "attributes": orjson.Fragment(record.attributes),
        "source": "log",
        "severity": record.severity,
        "severity_text": severity_text(record.severity),
        "span_id": record.span_id.hex() or None,
    }
    if record.body is not None:
        found["body"] = orjson.Fragment(record.body)
    if record.warnings is not None:
        found["warnings"] = orjson.Fragment(record.warnings)
    return orjson.dumps(found).decode()


def severity_text(number: int) -> str | None:
    return SEVERITIES[(number - 1) // 4] if 1 <= number <= 4 * len(SEVERITIES) else None

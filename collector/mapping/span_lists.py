"""A span's events and links as JSON text."""

from collections.abc import Iterable
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.mapping.values import Notes, json_text, read_attributes


def events_json(events: Iterable[Span.Event], notes: Notes) -> str:
    return json_text([_event(event, notes) for event in events])


def _event(event: Span.Event, notes: Notes) -> dict[str, Any]:
    # 64-bit numbers of nanoseconds do not survive a reader that counts in doubles: they are texts.
    found: dict[str, Any] = {
        "name": event.name,
        "time_unix_nano": str(event.time_unix_nano),
        "attributes": read_attributes(event.attributes, notes),
    }
    if event.dropped_attributes_count:
        found["dropped_attributes_count"] = event.dropped_attributes_count
    return found


def links_json(links: Iterable[Span.Link], notes: Notes) -> str:
    return json_text([_link(link, notes) for link in links])


def _link(link: Span.Link, notes: Notes) -> dict[str, Any]:
    found: dict[str, Any] = {"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex()}
    if link.trace_state:
        found["trace_state"] = link.trace_state
    if link.flags:
        found["flags"] = link.flags
    found["attributes"] = read_attributes(link.attributes, notes)
    if link.dropped_attributes_count:
        found["dropped_attributes_count"] = link.dropped_attributes_count
    return found

"""Rows back to OTLP, with the types that came."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from collector.mapping.values import moved_text
from collector.model import StepRow


def span_of(row: StepRow) -> Span:
    """The span as it came: kept bytes where the columns can't tell it, else rebuilt from them."""
    if row.wire is not None:
        kept: Span = Span.FromString(row.wire)
        return kept
    span = Span(
        trace_id=row.trace_id,
        span_id=row.span_id,
        parent_span_id=row.parent_span_id or b"",
        trace_state=row.trace_state or "",
        flags=row.flags or 0,
        name=row.name,
        kind=row.span_kind,  # type: ignore[arg-type]  # any number is an enum's on the wire
        start_time_unix_nano=row.start_ns,
        end_time_unix_nano=row.start_ns + (row.duration_ns or 0),
    )
    span.attributes.extend(pairs_of(attributes_of(row)))
    # Most senders write a status that says nothing, and to OTLP it is the same as none.
    span.status.SetInParent()
    span.status.code = row.status_code  # type: ignore[assignment]  # as above
    span.status.message = row.status_message or ""
    for event in orjson.loads(row.events or "[]"):
        told = span.events.add(name=event["name"], time_unix_nano=int(event["time_unix_nano"]))
        told.dropped_attributes_count = event.get("dropped_attributes_count", 0)
        told.attributes.extend(pairs_of(event["attributes"]))
    for link in orjson.loads(row.links or "[]"):
        ids = {name: bytes.fromhex(link[name]) for name in ("trace_id", "span_id")}
        made = span.links.add(**ids, trace_state=link.get("trace_state", ""), flags=link.get("flags", 0))
        made.dropped_attributes_count = link.get("dropped_attributes_count", 0)
        made.attributes.extend(pairs_of(link["attributes"]))
    return span


def attributes_of(row: StepRow) -> dict[str, Any]:
    """All attributes of a step: what went into its input and output is back in its place."""
    found: dict[str, Any] = orjson.loads(row.attributes)
    for key, text in ((row.input_key, row.input), (row.output_key, row.output)):
        if key is not None and text is not None:
            found[key] = moved_text(text)
    return found


def pairs_of(attributes: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value_of(value)) for key, value in attributes.items()]


def value_of(value: Any) -> AnyValue:
    if value is None:
        return AnyValue()
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    found = AnyValue()
    if isinstance(value, list):
        found.array_value.values.extend(value_of(each) for each in value)
        found.array_value.SetInParent()
    else:
        found.kvlist_value.values.extend(pairs_of(value))
        found.kvlist_value.SetInParent()
    return found


def otlp_json(rows: Iterable[StepRow], origins: Mapping[bytes, bytes]) -> bytes:
    """An OTLP/JSON request of these steps; `origins` are the kept resources and scopes by id.

    A step whose origin is gone stands under an empty resource.
    """
    scopes: dict[bytes, ScopeSpans] = {}
    resources: dict[bytes, ResourceSpans] = {}
    for row in rows:
        if row.origin_id not in scopes:
            origin = ResourceSpans.FromString(origins.get(row.origin_id, b""))
            scope = origin.scope_spans[0] if origin.scope_spans else ScopeSpans()
            del origin.scope_spans[:]
            resource = resources.setdefault(origin.SerializeToString(deterministic=True), origin)
            resource.scope_spans.append(scope)
            scopes[row.origin_id] = resource.scope_spans[-1]
        scopes[row.origin_id].spans.append(span_of(row))
    return orjson.dumps({"resourceSpans": [_json(resource) for resource in resources.values()]})


def _json(resource: ResourceSpans) -> dict[str, Any]:
    found: dict[str, Any] = MessageToDict(resource, use_integers_for_enums=True)
    for message, scope in zip(resource.scope_spans, found.get("scopeSpans", ()), strict=True):
        for span, text in zip(message.spans, scope.get("spans", ()), strict=True):
            _hex_ids(span, text)
            for link, link_text in zip(span.links, text.get("links", ()), strict=True):
                _hex_ids(link, link_text)
    return found


def _hex_ids(message: Any, text: dict[str, Any]) -> None:
    """Ids are hex in OTLP, where protobuf's own JSON has base64."""
    for field, value in (("traceId", "trace_id"), ("spanId", "span_id"), ("parentSpanId", "parent_span_id")):
        if field in text:
            text[field] = getattr(message, value).hex()

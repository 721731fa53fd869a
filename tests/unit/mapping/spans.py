"""Spans and log records in a line each, and the rows that they become."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.mapping.logs import map_logs
from collector.mapping.steps import map_traces
from collector.model import Batch, StepRow

TRACE_ID = bytes(range(1, 17))
START_NS = 1_795_349_854_123_456_789
MS = 1_000_000


def value_of(value: Any) -> AnyValue:
    found = AnyValue()
    if isinstance(value, AnyValue):
        return value
    if isinstance(value, bool):
        found.bool_value = value
    elif isinstance(value, int):
        found.int_value = value
    elif isinstance(value, float):
        found.double_value = value
    elif isinstance(value, str):
        found.string_value = value
    elif isinstance(value, bytes):
        found.bytes_value = value
    elif isinstance(value, list):
        found.array_value.SetInParent()
        found.array_value.values.extend(value_of(each) for each in value)
    elif isinstance(value, dict):
        found.kvlist_value.SetInParent()
        found.kvlist_value.values.extend(pairs_of(value))
    return found


def pairs_of(attributes: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value_of(value)) for key, value in attributes.items()]


def span(attributes: Mapping[str, Any] | None = None, number: int = 1, **fields: Any) -> Span:
    """Span `number`; `events` are pairs of a name and attributes, `status` is a code or a code and a message."""
    events, status = fields.pop("events", ()), fields.pop("status", None)
    known = {
        "trace_id": TRACE_ID,
        "span_id": number.to_bytes(8, "big"),
        "name": "step",
        "kind": Span.SPAN_KIND_INTERNAL,
        "start_time_unix_nano": START_NS,
        "end_time_unix_nano": START_NS + 5 * MS,
    }
    made = Span(**{**known, **fields})
    made.attributes.extend(pairs_of(attributes or {}))
    for name, told in events:
        made.events.add(name=name, time_unix_nano=START_NS + MS).attributes.extend(pairs_of(told))
    if status is not None:
        code, message = status if isinstance(status, tuple) else (status, "")
        made.status.code, made.status.message = code, message
    return made


def request_of(spans: Sequence[Span], scope: str = "", resource: Mapping[str, Any] | None = None) -> Any:
    request = ExportTraceServiceRequest()
    of_resource = request.resource_spans.add()
    of_resource.resource.attributes.extend(pairs_of(resource or {"service.name": "shop"}))
    of_scope = of_resource.scope_spans.add()
    of_scope.scope.name = scope
    of_scope.spans.extend(spans)
    return request


def mapped(request: Any) -> Batch:
    return map_traces(request, lambda _: 1)


def row_of(attributes: Mapping[str, Any] | None = None, scope: str = "", **fields: Any) -> StepRow:
    """The row of one span."""
    resource = fields.pop("resource", None)
    [row] = mapped(request_of([span(attributes, **fields)], scope, resource)).steps
    return row


def log(
    name: str | None = None, body: Any = None, attributes: Mapping[str, Any] | None = None, **fields: Any
) -> LogRecord:
    record = LogRecord(**{"time_unix_nano": START_NS, "severity_number": 9, **fields}, event_name=name or "")
    record.attributes.extend(pairs_of(attributes or {}))
    if body is not None:
        record.body.CopyFrom(value_of(body))
    return record


def logged(*records: LogRecord, scope: str = "", resource: Mapping[str, Any] | None = None) -> Batch:
    request = ExportLogsServiceRequest()
    of_resource = request.resource_logs.add()
    of_resource.resource.attributes.extend(pairs_of(resource or {"service.name": "shop"}))
    of_scope = of_resource.scope_logs.add()
    of_scope.scope.name = scope
    of_scope.log_records.extend(records)
    return map_logs(request, lambda _: 1)


def held(text: str | None) -> Any:
    """What a JSON column holds."""
    return None if text is None else json.loads(text)


def normal(given: Span) -> bytes:
    """A span's bytes, with attributes in order of their names and a status that says nothing where there is none."""
    made = Span.FromString(given.SerializeToString())
    made.status.SetInParent()
    for carrier in (made, *made.events, *made.links):
        pairs = sorted(carrier.attributes, key=lambda pair: pair.key)
        del carrier.attributes[:]
        carrier.attributes.extend(pairs)
    return made.SerializeToString(deterministic=True)

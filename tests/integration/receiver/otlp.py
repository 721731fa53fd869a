"""Requests to send, and their OTLP/JSON form."""

import base64
import json
import os
from itertools import count
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

START_NS = 1_790_000_000_123_456_789
IDS = ("traceId", "spanId", "parentSpanId")
_spans = count(1)


def span(name: str = "step", **fields: Any) -> Span:
    """A valid span of a trace of its own; `fields` win."""
    known = {
        "trace_id": os.urandom(16),
        "span_id": next(_spans).to_bytes(8, "big"),
        "start_time_unix_nano": START_NS,
        "end_time_unix_nano": START_NS + 5_000_000,
    }
    attributes = fields.pop("attributes", {})
    made = Span(name=name, **(known | fields))
    made.attributes.extend(pairs(attributes))
    return made


def pairs(attributes: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def any_value(value: Any) -> AnyValue:
    if isinstance(value, AnyValue):
        return value
    if value is None:
        return AnyValue()
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, list):
        return AnyValue(array_value={"values": [any_value(each) for each in value]})
    if isinstance(value, dict):
        return AnyValue(kvlist_value={"values": pairs(value)})
    kind = {str: "string_value", int: "int_value", float: "double_value", bytes: "bytes_value"}[type(value)]
    return AnyValue(**{kind: value})


def traces(*spans: Span, resource: dict[str, Any] | None = None) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    of_resource = request.resource_spans.add()
    of_resource.resource.attributes.extend(pairs({"service.name": "shop"} | (resource or {})))
    of_scope = of_resource.scope_spans.add()
    of_scope.scope.name = "tests"
    of_scope.spans.extend(spans)
    return request


def logs(*records: dict[str, Any]) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    of_scope = request.resource_logs.add().scope_logs.add()
    for record in records:
        of_scope.log_records.add(**({"time_unix_nano": START_NS} | record))
    return request


def metrics() -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="requests")
    metric.sum.data_points.add(as_int=1)
    return request


def otlp_json(message: Any) -> bytes:
    """A request as OTLP/JSON: protobuf's JSON with hex ids and integer enums."""
    document = json_format.MessageToDict(message, use_integers_for_enums=True)
    return json.dumps(_hex_ids(document)).encode()


def _hex_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_hex_ids(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64decode(each).hex() if key in IDS and isinstance(each, str) else _hex_ids(each)
        for key, each in value.items()
    }


def post_head(length: int, content_type: str = "application/json", **headers: str) -> bytes:
    """The head of an HTTP/1.1 request to the traces path, for tests that write to the socket themselves."""
    named = {"host": "x", "content-type": content_type, "content-length": str(length)} | headers
    lines = ["POST /v1/traces HTTP/1.1", *(f"{name}: {value}" for name, value in named.items()), "", ""]
    return "\r\n".join(lines).encode()

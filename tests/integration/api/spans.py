"""Small OTLP requests, as a sender makes them."""

from base64 import b64encode
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SECOND = 1_000_000_000
START = 1_790_000_000 * SECOND
"""2026-09-21: inside the tests' time, so that durations and orders are easy to read."""

OTLP_STATUS = {"unset": 0, "ok": 1, "error": 2}


def span(trace: int, number: int, name: str = "work", **more: Any) -> dict[str, Any]:
    """Span `number` of trace `trace`; number 1 is the root, the others are its children."""
    start = more.pop("start", START + number * SECOND)
    duration = more.pop("duration", SECOND)
    parent = more.pop("parent", 1 if number != 1 else None)
    found = {
        "traceId": trace_id(trace),
        "spanId": span_id(number),
        "name": name,
        "kind": 1,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + duration),
        "status": {"code": OTLP_STATUS[more.pop("status", "unset")], "message": more.pop("message", "")},
        "attributes": [attribute(key, value) for key, value in more.pop("attributes", {}).items()],
        **more,
    }
    return found | ({"parentSpanId": span_id(parent)} if parent else {})


def attribute(key: str, value: Any) -> dict[str, Any]:
    kind = {bool: "boolValue", int: "intValue", float: "doubleValue"}.get(type(value), "stringValue")
    return {"key": key, "value": {kind: str(value) if kind == "intValue" else value}}


def request(*spans: dict[str, Any], service: str = "shop", **resource: Any) -> ExportTraceServiceRequest:
    attributes = [attribute(key, value) for key, value in {"service.name": service, **resource}.items()]
    ids = [in_base64(each) for each in spans]
    body = {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": ids}]}]}
    return json_format.ParseDict(body, ExportTraceServiceRequest())


def trace_id(number: int) -> str:
    return f"{number:032x}"


def span_id(number: int) -> str:
    return f"{number:016x}"


def in_base64(part: dict[str, Any]) -> dict[str, Any]:
    """The ids of a span or link as protobuf's JSON has them."""
    ids = ("traceId", "spanId", "parentSpanId")
    encoded = {key: b64encode(bytes.fromhex(part[key])).decode() for key in ids if key in part}
    links = {"links": [in_base64(link) for link in part["links"]]} if "links" in part else {}
    return part | encoded | links

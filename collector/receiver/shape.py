"""How the requests of a signal are nested: resources hold scopes, scopes hold items (spans or log records)."""

from collections.abc import Callable
from typing import Any, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.mapping.logs import record_id_of
from collector.mapping.unread import UnreadTraces


class Shape(NamedTuple):
    request: Any
    quick: Any
    """The same message as it is read when nothing is wrong with it."""
    resources: str
    scopes: str
    items: str
    key_of: Callable[[Any], bytes]
    """Tells an item's repairs from those of others."""


TRACES = Shape(
    ExportTraceServiceRequest, UnreadTraces, "resource_spans", "scope_spans", "spans", lambda span: span.span_id
)
LOGS = Shape(
    ExportLogsServiceRequest, ExportLogsServiceRequest, "resource_logs", "scope_logs", "log_records", record_id_of
)
SHAPES = (TRACES, LOGS)

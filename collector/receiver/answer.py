"""A Reply as OTLP's export responses: empty on full success, `partial_success` where there is something to say."""

from typing import Any

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.receiver.ingest import Reply, Signal

RESPONSES: dict[Signal, tuple[Any, str, str]] = {
    Signal.TRACES: (ExportTraceServiceResponse, "rejected_spans", "rejectedSpans"),
    Signal.LOGS: (ExportLogsServiceResponse, "rejected_log_records", "rejectedLogRecords"),
    Signal.METRICS: (ExportMetricsServiceResponse, "rejected_data_points", "rejectedDataPoints"),
}


def protobuf_answer(signal: Signal, reply: Reply) -> bytes:
    if reply == Reply():
        return b""
    response, count, _ = RESPONSES[signal]
    answer = response(partial_success={count: reply.rejected, "error_message": reply.message})
    return bytes(answer.SerializeToString())


def json_answer(signal: Signal, reply: Reply) -> bytes:
    if reply == Reply():
        return b"{}"
    count = RESPONSES[signal][2]
    return orjson.dumps({"partialSuccess": {count: str(reply.rejected), "errorMessage": reply.message}})

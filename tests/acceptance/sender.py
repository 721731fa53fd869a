"""A client that remembers what was acknowledged, so that a crash test can ask for it afterwards."""

import os
import threading
import time
from dataclasses import dataclass, field

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SPANS = 12


def one_trace(spans: int = SPANS, kind: str = "tool", failing: bool = False) -> tuple[str, bytes]:
    """A request that holds one whole trace: a root and its children. Returns its id (hex) and the bytes."""
    trace_id, root = os.urandom(16), os.urandom(8)
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = "crash-test"
    scope_spans = resource_spans.scope_spans.add()
    start = time.time_ns() - 10**9
    for index in range(spans):
        span = scope_spans.spans.add(
            trace_id=trace_id,
            span_id=root if index == 0 else os.urandom(8),
            parent_span_id=b"" if index == 0 else root,
            name="invoke_agent crash" if index == 0 else f"execute_tool t{index}",
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=start + index * 10**6,
            end_time_unix_nano=start + (index + 1) * 10**6,
        )
        operation = "invoke_agent" if index == 0 else "execute_tool"
        span.attributes.add(key="gen_ai.operation.name").value.string_value = operation
        span.attributes.add(key="gen_ai.tool.name").value.string_value = f"{kind}{index}"
        span.attributes.add(key="gen_ai.tool.call.arguments").value.string_value = f'{{"n": {index}}}'
        if failing and index == spans - 1:
            span.status.code = Status.STATUS_CODE_ERROR
            span.status.message = "it broke"
    return trace_id.hex(), request.SerializeToString()


@dataclass
class Client:
    """Sends one trace after the other over a channel of its own until it is stopped or the door is gone."""

    target: str
    acknowledged: list[str] = field(default_factory=list)
    sent: int = 0
    refused: int = 0
    first: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> "Client":
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(20)

    def _run(self) -> None:
        with grpc.insecure_channel(self.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            export = channel.unary_unary(EXPORT, response_deserializer=ExportTraceServiceResponse.FromString)
            while not self._stop.is_set():
                trace_id, body = one_trace()
                self.sent += 1
                try:
                    export(body, timeout=10)
                except grpc.RpcError:
                    # Not acknowledged: nothing was promised. The door may be gone for good.
                    self.refused += 1
                    if self._stop.wait(0.02):
                        return
                    continue
                self.acknowledged.append(trace_id)
                self.first.set()

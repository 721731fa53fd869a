"""Nothing that looks like a secret reaches the store where redaction before storage is on."""

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.mapping.logs import map_logs
from collector.mapping.steps import map_traces
from collector.model import Batch, Refusal
from collector.reasoning.redact import Redactor
from collector.redacting import WARNING, RedactingStore

SECRET = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH"


class Kept:
    def __init__(self) -> None:
        self.batch = Batch()

    async def write(self, batch: Batch) -> list[Refusal]:
        self.batch = batch
        return []


def spans() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="process.command_line").value.string_value = f"app --key {SECRET}"
    scope_spans = resource_spans.scope_spans.add()
    for number, told in enumerate((SECRET, "nothing to hide")):
        span = scope_spans.spans.add(trace_id=b"t" * 16, span_id=bytes([number + 1] * 8), name="execute_tool login")
        span.start_time_unix_nano = span.end_time_unix_nano = 1_700_000_000_000_000_000
        span.attributes.add(key="gen_ai.operation.name").value.string_value = "execute_tool"
        span.attributes.add(key="gen_ai.tool.call.arguments").value.string_value = f'{{"n": 1, "note": "{told}"}}'
        span.attributes.add(key="raw").value.bytes_value = told.encode()  # keeps the span as it came, too
        event = span.events.add(name="exception")
        event.attributes.add(key="exception.message").value.string_value = f"denied: {told}"
    return request


async def test_a_secret_is_stored_nowhere() -> None:
    kept = Kept()
    await RedactingStore(kept, Redactor()).write(map_traces(spans(), lambda _: 1))
    secret, harmless = kept.batch.steps
    assert SECRET not in repr(secret)
    assert secret.wire is None
    assert WARNING in msgspec.json.decode(secret.warnings or "[]")
    assert msgspec.json.decode(secret.input or "")["n"] == 1
    assert SECRET not in repr(kept.batch.origins)
    assert SECRET.encode() not in b"".join(row.wire for row in kept.batch.origins.values())
    assert harmless == map_traces(spans(), lambda _: 1).steps[1]


async def test_log_records_are_redacted_too() -> None:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    record.body.string_value = f"the key is {SECRET}"
    kept = Kept()
    await RedactingStore(kept, Redactor()).write(map_logs(request, lambda _: 1))
    assert len(kept.batch.records) == 1
    assert SECRET not in repr(kept.batch.records)

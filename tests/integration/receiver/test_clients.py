"""OTLP.md section 7: unmodified exporters of the Python SDK as clients."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from collector.errors import Overloaded, Unavailable
from collector.model import Batch, Refusal
from collector.store.database import Database
from collector.store.writer import Writer, WriterOptions
from tests.integration.receiver.conftest import Receiver, Setup, receiving

RESOURCE = Resource.create({"service.name": "shop"})


def grpc_exporter(receiver: Receiver, **options: Any) -> SpanExporter:
    return grpc_traces.OTLPSpanExporter(endpoint=receiver.target, insecure=True, **options)


def http_exporter(receiver: Receiver, **options: Any) -> SpanExporter:
    return http_traces.OTLPSpanExporter(endpoint=f"{receiver.url}/v1/traces", **options)


EXPORTERS = pytest.mark.parametrize("exporter", [grpc_exporter, http_exporter], ids=["grpc", "http"])


def run_app(exporter: SpanExporter, spans: int = 3) -> None:
    """An instrumented app from its start to its end, in a thread of its own."""
    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("shop")
    for number in range(spans):
        with tracer.start_as_current_span(f"step {number}", attributes={"n": number}):
            pass
    provider.shutdown()


class Flaky:
    """A writer that fails the first times."""

    def __init__(self, writer: Writer, *errors: Exception) -> None:
        self.writer = writer
        self.errors = list(errors)
        self.calls = 0

    async def write(self, batch: Batch) -> list[Refusal]:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return await self.writer.write(batch)


@EXPORTERS
async def test_spans_arrive(receiver: Receiver, exporter: Callable[..., SpanExporter], caplog: Any) -> None:
    await asyncio.to_thread(run_app, exporter(receiver))
    assert {row["name"] for row in await receiver.steps()} == {"step 0", "step 1", "step 2"}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("compression", [Compression.Gzip, Compression.Deflate])
async def test_compressed_spans_arrive(receiver: Receiver, compression: Compression) -> None:
    await asyncio.to_thread(run_app, http_exporter(receiver, compression=compression))
    assert len(await receiver.steps()) == 3


async def test_the_signal_variable_without_a_path(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is used as it is: the exporter posts to `/`."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", receiver.url)
    await asyncio.to_thread(run_app, http_traces.OTLPSpanExporter())
    assert len(await receiver.steps()) == 3


@EXPORTERS
@pytest.mark.parametrize(
    "error", [Unavailable("away", 1.0), Overloaded("full", 1.0)], ids=["unavailable", "overloaded"]
)
async def test_refused_then_taken(database: Database, exporter: Callable[..., SpanExporter], error: Exception) -> None:
    """A temporary refusal costs nothing: the exporter comes again, and its spans are stored once."""
    writer = Writer(database, WriterOptions(explain=False, notify=False))
    await writer.start()
    flaky = Flaky(writer, error)
    async with receiving(database, Setup(store=flaky)) as receiver:
        await asyncio.to_thread(run_app, exporter(receiver))
        assert flaky.calls == 2
        assert len(await receiver.steps()) == 3
    await writer.stop()


@pytest.mark.parametrize("setup", [Setup(http={"max_message_bytes": 500})])
async def test_over_the_limit_is_given_up_at_once(receiver: Receiver) -> None:
    await asyncio.to_thread(run_app, http_exporter(receiver), 30)
    assert receiver.counted("xray_exports_total", door="http", signal="traces", answer="too_large") == 1
    assert await receiver.steps() == []


def log_and_measure(receiver: Receiver, route: str) -> None:
    over_grpc = route == "grpc"
    logs = LoggerProvider(resource=RESOURCE)
    log_exporter: Any = (
        GrpcLogExporter(endpoint=receiver.target, insecure=True)
        if over_grpc
        else HttpLogExporter(endpoint=f"{receiver.url}/v1/logs")
    )
    logs.add_log_record_processor(BatchLogRecordProcessor(log_exporter))
    logs.get_logger("shop").emit(LogRecord(body="out of stock", severity_number=SeverityNumber.WARN))
    logs.shutdown()
    metric_exporter: Any = (
        GrpcMetricExporter(endpoint=receiver.target, insecure=True)
        if over_grpc
        else HttpMetricExporter(endpoint=f"{receiver.url}/v1/metrics")
    )
    meters = MeterProvider(resource=RESOURCE, metric_readers=[PeriodicExportingMetricReader(metric_exporter)])
    meters.get_meter("shop").create_counter("orders").add(1)
    meters.shutdown()


@pytest.mark.parametrize("route", ["grpc", "http"])
async def test_log_and_metric_exporters_report_no_errors(receiver: Receiver, route: str, caplog: Any) -> None:
    await asyncio.to_thread(log_and_measure, receiver, route)
    assert receiver.counted("xray_metrics_accepted_total") >= 1
    assert receiver.counted("xray_exports_total", door=route, signal="logs", answer="ok") == 1
    complaints = [r for r in caplog.records if r.levelno >= logging.WARNING and r.name.startswith("opentelemetry")]
    assert not complaints

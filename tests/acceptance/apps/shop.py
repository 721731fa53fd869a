"""An app with the plain OpenTelemetry SDK: nothing in it knows X-Ray, only OTEL_… variables say where things go.

`python -m tests.acceptance.apps.shop grpc 20 0.05` makes twenty orders, one every 50 ms, and prints their trace ids.
"""

import importlib
import sys
import time

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber, set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

PACKAGES = {"grpc": "opentelemetry.exporter.otlp.proto.grpc", "http/protobuf": "opentelemetry.exporter.otlp.proto.http"}


class Instrumentation:
    """Traces, logs and metrics to wherever the environment says."""

    def __init__(self, protocol: str) -> None:
        package = PACKAGES[protocol]
        self.traces = TracerProvider()
        self.traces.add_span_processor(BatchSpanProcessor(_exporter(package, "trace_exporter", "OTLPSpanExporter")))
        self.logs = LoggerProvider()
        self.logs.add_log_record_processor(
            BatchLogRecordProcessor(_exporter(package, "_log_exporter", "OTLPLogExporter"))
        )
        reader = PeriodicExportingMetricReader(_exporter(package, "metric_exporter", "OTLPMetricExporter"))
        self.metrics = MeterProvider(metric_readers=[reader])

    def shutdown(self) -> None:
        for provider in (self.traces, self.logs, self.metrics):
            provider.shutdown()


def _exporter(package: str, module: str, name: str) -> object:
    return getattr(importlib.import_module(f"{package}.{module}"), name)()


def sell(number: int, instrumentation: Instrumentation) -> str:
    """One order: a root, two steps, a log record in the second."""
    tracer = instrumentation.traces.get_tracer("shop")
    logger = instrumentation.logs.get_logger("shop")
    with tracer.start_as_current_span("order", attributes={"order.number": number}) as root:
        with tracer.start_as_current_span("fetch"):
            pass
        with tracer.start_as_current_span("pay"):
            record = LogRecord(
                body=f"paid {number}",
                severity_number=SeverityNumber.INFO,
                timestamp=time.time_ns(),
                event_name="paid",
                context=None,
            )
            logger.emit(record)
    return trace.format_trace_id(root.get_span_context().trace_id)


def main(protocol: str, orders: int, pause_s: float) -> None:
    instrumentation = Instrumentation(protocol)
    trace.set_tracer_provider(instrumentation.traces)
    set_logger_provider(instrumentation.logs)
    counter = instrumentation.metrics.get_meter("shop").create_counter("orders")
    for number in range(orders):
        print(sell(number, instrumentation), flush=True)
        counter.add(1)
        time.sleep(pause_s)
    instrumentation.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))

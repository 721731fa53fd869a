"""X-Ray's own traces: each question to a model as a span, sent where OTEL_EXPORTER_OTLP_ENDPOINT says.

That may be X-Ray itself: its spans carry a mark by which they are stored, shown and never explained.
"""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from collector.reasoning.endpoint import Reply
from collector.store.merge import INTERNAL_ATTRIBUTE, INTERNAL_SERVICE

WANTED_BY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


FLUSH_LIMIT_S = 3.0


class OwnTraces:
    """Spans of questions to one model; without a provider nothing is made."""

    def __init__(self, provider: Any = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("xray") if provider is not None else None

    async def close(self) -> None:
        """Send what is still held; who does not take it within a moment is not waited for."""
        if self._provider is not None:
            flush = threading.Thread(target=self._provider.shutdown, name="own-traces", daemon=True)
            flush.start()
            await asyncio.to_thread(flush.join, FLUSH_LIMIT_S)

    @contextmanager
    def asking(self, model: str, trace_id: bytes) -> Iterator[list[Reply]]:
        """One question about an execution; what is put into the list is its reply. No content, only counts."""
        replies: list[Reply] = []
        if self._tracer is None:
            yield replies
            return
        asked = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model, "xray.explains": trace_id.hex()}
        with self._tracer.start_as_current_span(f"chat {model}", attributes=asked, record_exception=False) as span:
            yield replies
            for reply in replies:
                span.set_attribute("gen_ai.response.model", reply.model)
                span.set_attribute("gen_ai.usage.input_tokens", reply.tokens_input)
                span.set_attribute("gen_ai.usage.output_tokens", reply.tokens_output)


def make_own_traces(environ: Mapping[str, str]) -> OwnTraces:
    """Traces where the environment asks for them, as it does of any other program."""
    if not any(environ.get(name) for name in WANTED_BY):
        return OwnTraces()
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return OwnTraces(make_provider(BatchSpanProcessor(OTLPSpanExporter())))


def make_provider(processor: Any) -> Any:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    resource = Resource({"service.name": INTERNAL_SERVICE, INTERNAL_ATTRIBUTE: True})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider

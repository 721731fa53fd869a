"""Load as senders make it: requests of 512 spans in a file, and a process of its own that sends them over gRPC.

    python -m tests.bench.load make --kind genai --spans 100000 --out FILE
    python -m tests.bench.load send --file FILE --target 127.0.0.1:4317 --clients 8

A file is a run of ExportTraceServiceRequest messages, each behind its length (4 bytes, big-endian). Each client has a
channel of its own and one request in flight, as the batch processor of an SDK has.
"""

import argparse
import asyncio
import json
import os
import random
import struct
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
BATCH_SPANS = 512
TRACE_SPANS = 10
RETRYABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)
MOST_TRIES = 60
WORDS = (
    *("the", "model", "ranked", "candidate", "movies", "by", "rating", "and", "release", "year", "then", "filtered"),
    *("those", "that", "did", "not", "match", "preferred", "genre", "before", "returning", "a", "final", "list"),
    *("of", "titles", "with", "scores"),
)
RESOURCE = {
    "service.name": "movies-api",
    "service.version": "1.4.2",
    "deployment.environment.name": "bench",
    "telemetry.sdk.language": "python",
    "telemetry.sdk.name": "opentelemetry",
    "host.name": "bench-1",
}


def words(rng: random.Random, size: int) -> str:
    chosen, length = [], 0
    while length < size:
        word = rng.choice(WORDS)
        chosen.append(word)
        length += len(word) + 1
    return " ".join(chosen)


def put(attributes: Any, values: dict[str, Any]) -> None:
    for key, value in values.items():
        pair = attributes.add(key=key)
        kind = {bool: "bool_value", int: "int_value", float: "double_value"}.get(type(value), "string_value")
        setattr(pair.value, kind, value)


def fill_web(rng: random.Random, position: int, span: Any) -> None:
    span.name = rng.choice(("GET /movies", "GET /movies/{id}", "SELECT movies", "POST /rank", "redis GET"))
    put(
        span.attributes,
        {
            "http.request.method": "GET",
            "url.path": f"/movies/{rng.randrange(10**6)}",
            "http.response.status_code": 200 if rng.random() > 0.03 else 500,
            "server.address": "movies.internal",
            "server.port": 8080,
            "network.protocol.version": "1.1",
            "user_agent.original": "python-httpx/0.28",
            "db.system.name": "postgresql",
            "db.query.text": "SELECT id, title, year FROM movies WHERE id = $1",
            "thread.id": rng.randrange(10**5),
            "thread.name": "worker-1",
            "app.user": f"u{rng.randrange(5000)}",
        },
    )
    if rng.random() < 0.03:
        span.status.code, span.status.message = 2, "upstream timed out"


def fill_genai(rng: random.Random, position: int, span: Any) -> None:
    if position == 0:
        fill_agent(rng, span)
    elif position in (1, 4, 7):
        fill_chat(rng, span)
    else:
        fill_tool(rng, span)


def fill_agent(rng: random.Random, span: Any) -> None:
    span.name = "invoke_agent movie-ranker"
    values = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "movie-ranker"}
    put(span.attributes, values | {"input.value": words(rng, 300), "output.value": words(rng, 500)})


def fill_chat(rng: random.Random, span: Any) -> None:
    span.name = "chat gpt-5-mini"
    asked = [
        {"role": "system", "parts": [{"type": "text", "content": words(rng, 600)}]},
        {"role": "user", "parts": [{"type": "text", "content": words(rng, 1800)}]},
    ]
    parts = [{"type": "text", "content": words(rng, 900)}]
    put(
        span.attributes,
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-5-mini",
            "gen_ai.response.model": "gpt-5-mini-2026-03-01",
            "gen_ai.request.temperature": 0.2,
            "gen_ai.usage.input_tokens": rng.randrange(200, 3000),
            "gen_ai.usage.output_tokens": rng.randrange(20, 600),
            "gen_ai.input.messages": json.dumps(asked),
            "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": parts, "finish_reason": "stop"}]),
        },
    )


def fill_tool(rng: random.Random, span: Any) -> None:
    tool = rng.choice(("search_movies", "rank", "fetch_reviews", "filter"))
    span.name = f"execute_tool {tool}"
    put(
        span.attributes,
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.call.id": f"call_{rng.getrandbits(64):016x}",
            "gen_ai.tool.call.arguments": json.dumps({"query": words(rng, 120), "limit": rng.randrange(50)}),
            "gen_ai.tool.call.result": json.dumps({"items": [words(rng, 80) for _ in range(4)]}),
        },
    )
    if rng.random() < 0.05:
        span.status.code, span.status.message = 2, "tool failed"
        event = span.events.add(name="exception", time_unix_nano=span.start_time_unix_nano)
        failure = {"exception.type": "TimeoutError", "exception.message": "search timed out"}
        put(event.attributes, failure | {"exception.stacktrace": words(rng, 600)})


FILL = {"web": fill_web, "genai": fill_genai}


def spans_of(kind: str, count: int, seed: int) -> Iterator[Any]:
    """Spans of traces of ten: a root and nine children."""
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    rng, now_ns = random.Random(seed), time.time_ns()
    for _ in range(count // TRACE_SPANS):
        trace_id, root_id = rng.randbytes(16), rng.randbytes(8)
        start_ns = now_ns - rng.randrange(3600) * 10**9
        for position in range(TRACE_SPANS):
            span = Span(trace_id=trace_id, span_id=rng.randbytes(8) if position else root_id, kind=1 + position % 3)
            if position:
                span.parent_span_id = root_id
            span.start_time_unix_nano = start_ns + position * 10**7
            span.end_time_unix_nano = span.start_time_unix_nano + rng.randrange(10**6, 10**9)
            FILL[kind](rng, position, span)
            yield span


def requests_of(kind: str, count: int, seed: int) -> Iterator[bytes]:
    spans = spans_of(kind, count, seed)
    while True:
        request = ExportTraceServiceRequest()
        of_resource = request.resource_spans.add()
        put(of_resource.resource.attributes, RESOURCE)
        of_scope = of_resource.scope_spans.add()
        of_scope.scope.name, of_scope.scope.version = "bench.instrumentation", "1.0"
        for _, span in zip(range(BATCH_SPANS), spans, strict=False):
            of_scope.spans.append(span)
        if not of_scope.spans:
            return
        yield request.SerializeToString()


def make(kind: str, count: int, out: Path, seed: int = 7) -> None:
    with out.open("wb") as file:
        for request in requests_of(kind, count, seed):
            file.write(struct.pack(">I", len(request)) + request)


def read(path: Path) -> list[bytes]:
    requests, data, offset = [], path.read_bytes(), 0
    while offset < len(data):
        (size,) = struct.unpack_from(">I", data, offset)
        requests.append(data[offset + 4 : offset + 4 + size])
        offset += 4 + size
    return requests


@dataclass
class Sent:
    """What the senders saw."""

    requests: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    retries: int = 0
    failed: int = 0
    rejected_spans: int = 0
    messages: list[str] = field(default_factory=list)


class Senders:
    def __init__(self, target: str, requests: list[bytes], timeout_s: float) -> None:
        self.target, self.timeout_s = target, timeout_s
        self.left = requests[::-1]
        self.sent = Sent(requests=len(requests))
        self.waits_ms: list[float] = []

    async def run(self, clients: int) -> Sent:
        began, cpu = time.perf_counter(), os.times()
        await asyncio.gather(*(self._client() for _ in range(clients)))
        self.sent.seconds = time.perf_counter() - began
        spent = os.times()
        self.sent.cpu_s = spent.user + spent.system - cpu.user - cpu.system
        self.waits_ms.sort()
        self.sent.p50_ms, self.sent.p99_ms = (
            self.waits_ms[min(len(self.waits_ms) - 1, int(len(self.waits_ms) * share))] for share in (0.5, 0.99)
        )
        return self.sent

    async def _client(self) -> None:
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self.target, options=options) as channel:
            export = channel.unary_unary(
                EXPORT, request_serializer=None, response_deserializer=ExportTraceServiceResponse.FromString
            )
            while self.left:
                request = self.left.pop()
                began = time.perf_counter()
                await self._export(export, request)
                self.waits_ms.append((time.perf_counter() - began) * 1e3)

    async def _export(self, export: Any, request: bytes) -> None:
        for attempt in range(MOST_TRIES):
            try:
                answer = await export(request, timeout=self.timeout_s)
            except grpc.aio.AioRpcError as error:
                self._note(f"{error.code().name}: {error.details()}")
                if error.code() not in RETRYABLE:
                    break
                self.sent.retries += 1
                await asyncio.sleep(min(0.1 * 2**attempt, 2.0))
            else:
                self.sent.rejected_spans += answer.partial_success.rejected_spans
                return
        self.sent.failed += 1

    def _note(self, message: str) -> None:
        if message not in self.sent.messages and len(self.sent.messages) < 5:
            self.sent.messages.append(message)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    maker = commands.add_parser("make")
    maker.add_argument("--kind", choices=sorted(FILL), required=True)
    maker.add_argument("--spans", type=int, default=100_000)
    maker.add_argument("--out", type=Path, required=True)
    sender = commands.add_parser("send")
    sender.add_argument("--file", type=Path, required=True)
    sender.add_argument("--target", default="127.0.0.1:4317")
    sender.add_argument("--clients", type=int, default=8)
    sender.add_argument("--timeout", type=float, default=30.0)
    given = parser.parse_args()
    if given.command == "make":
        make(given.kind, given.spans, given.out)
    else:
        senders = Senders(given.target, read(given.file), given.timeout)
        print(json.dumps(asdict(asyncio.run(senders.run(given.clients)))))


if __name__ == "__main__":
    main()

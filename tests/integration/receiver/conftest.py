"""The whole receiving part in this process: both doors with real ports, ingest, writer, a fresh Postgres database."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import httpx
import msgspec
import pytest
import pytest_asyncio
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from collector.http_server import bind, serving
from collector.receiver.admission import Admission
from collector.receiver.grpc import GrpcOptions, start_grpc
from collector.receiver.http import HttpOptions, OtlpHttp
from collector.receiver.ingest import Ingest
from collector.receiver.tls import Certificates
from collector.store.database import Database
from collector.store.writer import Writer, WriterOptions
from collector.telemetry import ErrorLog, Telemetry
from tests.conftest import TEMPLATE, Server
from tests.integration.receiver.otlp import otlp_json

SERVICES = {
    "traces": ("opentelemetry.proto.collector.trace.v1.TraceService", ExportTraceServiceResponse),
    "logs": ("opentelemetry.proto.collector.logs.v1.LogsService", ExportLogsServiceResponse),
    "metrics": ("opentelemetry.proto.collector.metrics.v1.MetricsService", ExportMetricsServiceResponse),
}
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
ROUTES = ("grpc", "http", "json")
MEBIBYTE = 1 << 20
SHARED = pytest.mark.asyncio(loop_scope="module")
"""For tests of `shared_receiver`."""


class Outcome(msgspec.Struct):
    """What a client sees, whatever the route."""

    code: int
    """The gRPC status; HTTP's is mapped to it."""
    body: bytes
    message: str = ""
    rejected: int = 0
    retry_after_s: float | None = None
    http_status: int | None = None

    @property
    def ok(self) -> bool:
        return self.code == 0


class Setup(msgspec.Struct, kw_only=True):
    """What a test wants to be different."""

    grpc: dict[str, Any] = {}
    http: dict[str, Any] = {}
    budget_bytes: int = 64 * MEBIBYTE
    patience_s: float = 4.0
    store: Any = None
    """A store in the place of the writer."""
    projects: Any = None
    tls: Callable[[ErrorLog], Certificates] | None = None


class Receiver:
    def __init__(self, database: Database, ingest: Ingest) -> None:
        self.database = database
        self.ingest = ingest
        self.metrics = ingest.telemetry.metrics
        self.grpc_port = 0
        self.http_port = 0
        self._counted_before: dict[tuple[Any, ...], float] = {}
        self.client: httpx.AsyncClient
        self.channel: grpc.aio.Channel

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    async def send(self, route: str, message: Any, signal: str = "traces") -> Outcome:
        """Sends an export request by gRPC, by HTTP with protobuf, or by HTTP with JSON."""
        if route == "grpc":
            return await self.grpc(message.SerializeToString(), signal)
        if route == "http":
            return await self.http(message.SerializeToString(), PROTOBUF, signal)
        return await self.http(otlp_json(message), JSON, signal)

    async def raw(self, route: str, body: bytes, signal: str = "traces") -> Outcome:
        """The same with the bytes given."""
        if route == "grpc":
            return await self.grpc(body, signal)
        return await self.http(body, PROTOBUF if route == "http" else JSON, signal)

    async def grpc(self, body: bytes, signal: str = "traces", **options: Any) -> Outcome:
        service, response = SERVICES[signal]
        try:
            answer = await self.channel.unary_unary(f"/{service}/Export")(body, **options)
        except grpc.aio.AioRpcError as error:
            return grpc_outcome(error)
        partial = response.FromString(answer).partial_success
        return Outcome(0, answer, partial.error_message, _rejected(partial))

    async def http(self, body: Any, headers: Mapping[str, str], signal: str = "traces", path: str = "") -> Outcome:
        answer = await self.client.post(path or f"/v1/{signal}", content=body, headers=dict(headers))
        return http_outcome(answer, signal)

    async def rows(self, sql: str, *arguments: Any) -> list[Any]:
        async with self.database.connection() as connection:
            return list(await connection.fetch(sql, *arguments))

    async def steps(self) -> list[Any]:
        return await self.rows("SELECT * FROM steps ORDER BY span_id")

    def counted(self, name: str, **labels: str) -> float:
        """What a metric counted, in this test."""
        key = (name, *sorted(labels.items()))
        return (self.metrics.registry.get_sample_value(name, labels) or 0.0) - self._counted_before.get(key, 0.0)

    async def forget(self) -> None:
        """Empties the tables and the counts, for the next test of a module that shares a receiver."""
        await self.rows("DELETE FROM steps")
        await self.rows("DELETE FROM records")
        await self.rows("DELETE FROM executions")
        samples = (sample for family in self.metrics.registry.collect() for sample in family.samples)
        self._counted_before = {(each.name, *sorted(each.labels.items())): each.value for each in samples}


def grpc_outcome(error: grpc.aio.AioRpcError) -> Outcome:
    trailers = dict(error.trailing_metadata() or ())
    wait = (
        RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]) if "google.rpc.retryinfo-bin" in trailers else None
    )
    return Outcome(
        code=error.code().value[0],
        body=trailers.get("grpc-status-details-bin", b""),
        message=error.details() or "",
        retry_after_s=wait.retry_delay.ToTimedelta().total_seconds() if wait else None,
    )


def http_outcome(answer: httpx.Response, signal: str) -> Outcome:
    is_json = answer.headers.get("content-type") == "application/json"
    if answer.status_code == 200:
        partial = _partial(answer.content, is_json, signal)
        return Outcome(0, answer.content, partial.error_message, _rejected(partial), http_status=200)
    if is_json:
        document = answer.json()
        code, message = document["code"], document["message"]
    else:
        status = Status.FromString(answer.content)
        code, message = status.code, status.message
    wait = answer.headers.get("retry-after")
    return Outcome(code, answer.content, message, 0, float(wait) if wait else None, answer.status_code)


def _partial(body: bytes, is_json: bool, signal: str) -> Any:
    from google.protobuf import json_format

    response = SERVICES[signal][1]
    return (json_format.Parse(body, response()) if is_json else response.FromString(body)).partial_success


def _rejected(partial: Any) -> int:
    return next((getattr(partial, field.name) for field in partial.DESCRIPTOR.fields if "rejected" in field.name), 0)


class Unused:
    """The app behind the OTLP door: whatever reaches it was no OTLP."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b"not OTLP"})


async def _lifespan(receive: Any, send: Any) -> None:
    for part in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{part}.complete"})


@asynccontextmanager
async def receiving(database: Database, setup: Setup) -> AsyncIterator[Receiver]:
    async with AsyncExitStack() as stack:
        telemetry = Telemetry()
        store = setup.store
        if store is None:
            store = Writer(database, WriterOptions(explain=False, notify=False), telemetry)
            await store.start()
            stack.push_async_callback(store.stop)
        admission = Admission(setup.budget_bytes, setup.patience_s, telemetry.metrics.inflight_bytes.set)
        ingest = Ingest(store, setup.projects or database, admission, telemetry)
        stack.push_async_callback(ingest.stop)
        receiver = Receiver(database, ingest)
        certificates = setup.tls(telemetry.errors) if setup.tls else None
        credentials = certificates.grpc_credentials() if certificates else None
        server = await start_grpc(ingest, GrpcOptions(**({"port": 0, "credentials": credentials} | setup.grpc)))
        stack.push_async_callback(server.stop, 2.0)
        listener = bind("127.0.0.1", 0)
        receiver.grpc_port, receiver.http_port = server.port, listener.getsockname()[1]
        tls = certificates.http_context() if certificates else None
        await stack.enter_async_context(serving(OtlpHttp(ingest, HttpOptions(**setup.http), Unused()), listener, tls))
        receiver.client = await stack.enter_async_context(httpx.AsyncClient(base_url=receiver.url, timeout=20))
        unlimited = [("grpc.max_send_message_length", -1)]
        receiver.channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(receiver.target, options=unlimited)
        )
        yield receiver


@pytest.fixture
def setup() -> Setup:
    """Overridden, or parametrized, by tests that want another receiver."""
    return Setup()


@pytest_asyncio.fixture
async def receiver(database: Database, setup: Setup) -> AsyncIterator[Receiver]:
    async with receiving(database, setup) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_receiver(server: Server) -> AsyncIterator[Receiver]:
    """One receiver for all tests of a module."""
    async with server.new_database(TEMPLATE) as name:
        database = await Database.open(server.url(name), pool_size=2)
        async with receiving(database, Setup()) as running:
            yield running
        await database.close()


@pytest_asyncio.fixture(loop_scope="module")
async def shared_receiver(module_receiver: Receiver) -> Receiver:
    """The module's receiver, empty."""
    await module_receiver.forget()
    return module_receiver


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest) -> str:
    return str(request.param)

"""The REST API over a real database, filled the way spans come in."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio
from litestar import Litestar
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from api.app import create_routers, openapi_config
from api.hub import Hub
from api.problems import problem_handlers
from api.services import Services
from collector.mapping.steps import map_traces, projects_in
from collector.store.database import Database
from collector.store.writer import Writer, WriterOptions
from collector.telemetry import Telemetry

from .spans import request

Send = Callable[..., Awaitable[None]]
Client = httpx.AsyncClient


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def services(database: Database, hub: Hub) -> Services:
    return Services(database=database, telemetry=Telemetry(), hub=hub)


@pytest.fixture
def app(services: Services) -> Litestar:
    return Litestar(
        route_handlers=create_routers(services),
        openapi_config=openapi_config(),
        exception_handlers=problem_handlers(services.telemetry.errors),
    )


@pytest_asyncio.fixture
async def client(app: Litestar) -> AsyncIterator[Client]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://xray") as opened:
        yield opened


@pytest_asyncio.fixture
async def writer(database: Database, hub: Hub) -> AsyncIterator[Writer]:
    started = Writer(database, WriterOptions(explained_kinds=frozenset({"llm", "tool"}), settle_ms=0))
    started.on_commit.append(hub.tell)
    await started.start()
    try:
        yield started
    finally:
        await started.stop()


@pytest.fixture
def send(database: Database, writer: Writer) -> Send:
    """Stores spans (or a whole request) as the receiver does."""

    async def store(*spans: Any, **resource: Any) -> None:
        whole = spans[0] if isinstance(spans[0], ExportTraceServiceRequest) else request(*spans, **resource)
        ids = {name: await database.project_id(name) for name in projects_in(whole) | {"default"}}
        assert not await writer.write(map_traces(whole, lambda name: ids[name or "default"]))

    return store

"""The composition root: builds what the roles need, starts it in order, stops it in the opposite order."""

import asyncio
import gc
import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import msgspec
from litestar import Litestar

from api.app import create_routers, openapi_config
from api.hub import Hub
from api.problems import problem_handlers
from api.services import Services
from collector.config import Settings
from collector.errors import Misconfigured, Unavailable, XRayError
from collector.http_server import bind, serving
from collector.mapping.prices import PriceTable, read_rates
from collector.reasoning.making import make_worker
from collector.reasoning.policy import EXPLAINED_KINDS
from collector.receiver.admission import Admission
from collector.receiver.grpc import GrpcOptions, start_grpc
from collector.receiver.http import HttpOptions, OtlpHttp
from collector.receiver.ingest import Ingest
from collector.store.database import Database
from collector.store.embedded import EmbeddedPostgres
from collector.store.migrate import migrate
from collector.store.writer import Writer, WriterOptions
from collector.supervisor import Supervisor
from collector.telemetry import Telemetry, start_logging

GRPC_GRACE_S = 5.0
WATCH_S = 1.0


class Address(msgspec.Struct, frozen=True):
    """Where a running X-Ray can be met; `grpc_port` is None where nothing is received."""

    host: str
    grpc_port: int | None
    http_port: int
    data: str
    reasoner: str
    roles: tuple[str, ...]


async def run(settings: Settings, announce: Callable[[Address], None]) -> None:
    """Everything the roles need, until SIGTERM or SIGINT; `announce` is called once it can be used.

    Raises Misconfigured where it can't be started as it was asked to.
    """
    start_logging(settings.log_level, settings.log_format)
    stop = asyncio.Event()
    with _signals(stop):
        async with AsyncExitStack() as stack:
            app = App(settings, stack)
            address = await (app.start_many() if settings.workers > 1 else app.start())
            # What lives now lives for good: the collector need not look at it again.
            gc.collect()
            gc.freeze()
            if settings.ports_file:
                ports = {"grpc": address.grpc_port, "http": address.http_port}
                settings.ports_file.write_text(json.dumps(ports))
            announce(address)
            await app.watch(stop)


async def run_receiver(settings: Settings, announce: Callable[[Address], None]) -> None:
    """One of several processes on the same ports, below a supervisor."""
    start_logging(settings.log_level, settings.log_format)
    stop = asyncio.Event()
    with _signals(stop):
        async with AsyncExitStack() as stack:
            app = App(settings, stack)
            announce(await app.start())
            gc.collect()
            gc.freeze()
            await app.watch(stop)


class App:
    """The parts of one process; the stack stops them, the one that was started last first."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._telemetry = Telemetry()
        self._hub = Hub()
        self._health: dict[str, Callable[[], bool]] = {}
        """By part: whether its loops live. A dead loop can't come back, so the process ends."""
        self._database: Database | None = None
        self._database_url: str | None = None

    async def start(self) -> Address:
        """Start everything in this process; what was started is on the stack, also when this raises."""
        settings = self._settings
        listener = self._bound(settings.http_port)
        database, data = await self._open_database()
        prices = _prices(settings)
        ingest = await self._start_receiving(database) if "receive" in settings.roles else None
        if "reason" in settings.roles:
            await self._start_reasoning(database, prices, ingest)
        grpc_port = await self._start_grpc(ingest) if ingest else None
        services = Services(
            database=database, telemetry=self._telemetry, hub=self._hub, prices=prices, ready=self.readiness
        )
        await self._start_http(services, ingest, listener)
        return self._address(grpc_port, listener.getsockname()[1], data)

    async def start_many(self) -> Address:
        """Receive and serve in processes of their own that share the ports; the rest stays here."""
        settings = self._settings
        reserved = [self._bound(port).getsockname()[1] for port in (settings.grpc_port, settings.http_port)]
        database, data = await self._open_database()
        if "reason" in settings.roles:
            await self._start_reasoning(database, _prices(settings), None)
        told = msgspec.structs.replace(
            settings,
            database_url=self._database_url,
            grpc_port=reserved[0],
            http_port=reserved[1],
            roles=tuple(role for role in settings.roles if role in {"receive", "serve"}),
            migrate=False,
        )
        supervisor = Supervisor(told, settings.workers)
        self._stack.push_async_callback(supervisor.stop)
        await supervisor.start()
        self._health["supervisor"] = lambda: supervisor.is_healthy
        self._on_hangup(supervisor)
        return self._address(reserved[0] if "receive" in settings.roles else None, reserved[1], data)

    def _on_hangup(self, supervisor: Supervisor) -> None:
        """SIGHUP: every process is replaced, one at a time."""
        loop, running = asyncio.get_running_loop(), set[asyncio.Task[None]]()

        def replace() -> None:
            task = asyncio.create_task(supervisor.replace())
            running.add(task)
            task.add_done_callback(running.discard)

        loop.add_signal_handler(signal.SIGHUP, replace)
        self._stack.callback(loop.remove_signal_handler, signal.SIGHUP)

    def _bound(self, port: int) -> socket.socket:
        listener = bind(self._settings.host, port, shared=self._settings.workers > 1)
        self._stack.callback(listener.close)
        return listener

    def _address(self, grpc_port: int | None, http_port: int, data: str) -> Address:
        settings = self._settings
        return Address(settings.host, grpc_port, http_port, data, settings.resolved_reasoner, settings.roles)

    async def readiness(self) -> dict[str, str]:
        """Every part: "ok", or what keeps it from its work."""
        parts = {name: "ok" if is_alive() else "its loop has ended" for name, is_alive in self._health.items()}
        return parts | {"database": await self._database_state()}

    async def watch(self, stop: asyncio.Event) -> None:
        """Waits for the signal; ends at once, with an error, when a loop has died."""
        while not stop.is_set():
            dead = [name for name, is_alive in self._health.items() if not is_alive()]
            if dead:
                raise XRayError(f"The {' and the '.join(dead)} ended unexpectedly; see the log above.")
            try:
                async with asyncio.timeout(WATCH_S):
                    await stop.wait()
            except TimeoutError:
                continue

    async def _database_state(self) -> str:
        if self._database is None:
            return "not open"
        try:
            async with asyncio.timeout(2), self._database.connection() as connection:
                read_only = await connection.fetchval("SHOW transaction_read_only")
        except (Unavailable, TimeoutError):
            return "can't be reached"
        return "ok" if read_only == "off" else "takes no writes"

    async def _open_database(self) -> tuple[Database, str]:
        """The database, current, and where its data lie, in words that hold no password."""
        url, data = self._settings.database_url, "the Postgres of XRAY_DATABASE_URL"
        if url is None:
            postgres = EmbeddedPostgres(self._settings.data_dir)
            self._stack.push_async_callback(postgres.stop)
            url, data = await postgres.start(), str(self._settings.data_dir)
        self._database_url = url
        if self._settings.migrate:
            await migrate(url)
        self._database = await Database.open(url)
        self._stack.push_async_callback(self._database.close)
        return self._database, data

    async def _start_receiving(self, database: Database) -> Ingest:
        settings = self._settings
        options = WriterOptions(
            explained_kinds=EXPLAINED_KINDS,
            explain=settings.resolved_reasoner != "off",
            settle_ms=settings.reasoner_settle_ms,
            settle_limit_ms=settings.reasoner_settle_limit_ms,
        )
        writer = Writer(database, options, self._telemetry)
        writer.on_commit.append(self._hub.tell)
        self._stack.push_async_callback(writer.stop)
        await writer.start()
        self._health["writer"] = lambda: writer.is_healthy
        admission = Admission(settings.max_inflight_bytes, observe=self._telemetry.metrics.inflight_bytes.set)
        ingest = Ingest(writer, database, admission, self._telemetry)
        self._stack.push_async_callback(ingest.stop)
        return ingest

    async def _start_reasoning(self, database: Database, prices: PriceTable, ingest: Ingest | None) -> None:
        worker = make_worker(self._settings, database, self._telemetry, prices)
        worker.on_commit.append(self._hub.tell)
        worker.use(prices=prices, busy=(lambda: ingest.admission.used_bytes > 0) if ingest else None)
        self._stack.push_async_callback(worker.stop)
        await worker.start()
        self._health["worker"] = lambda: worker.is_healthy

    async def _start_grpc(self, ingest: Ingest) -> int:
        settings = self._settings
        options = GrpcOptions(
            host=settings.host,
            port=settings.grpc_port,
            max_message_bytes=settings.max_message_bytes,
            share_port=settings.workers > 1,
        )
        server = await start_grpc(ingest, options)
        self._stack.push_async_callback(server.stop, GRPC_GRACE_S)
        return server.port

    async def _start_http(self, services: Services, ingest: Ingest | None, listener: socket.socket) -> None:
        api, health = create_routers(services)
        app: Any = Litestar(
            [api, health] if "serve" in self._settings.roles else [health],
            openapi_config=openapi_config(),
            logging_config=None,
            exception_handlers=problem_handlers(self._telemetry.errors),
        )
        if ingest is not None:
            options = HttpOptions(
                max_message_bytes=self._settings.max_message_bytes, cors_origins=self._settings.cors_origins
            )
            app = OtlpHttp(ingest, options, then=app)
        server = await self._stack.enter_async_context(serving(app, listener))
        self._health["http"] = lambda: not server.done()
        self._stack.callback(services.hub.close)


def _prices(settings: Settings) -> PriceTable:
    file = settings.prices_file
    if file is None:
        return PriceTable()
    try:
        return PriceTable(*read_rates(file.read_text(encoding="utf-8"), file.name))
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"XRAY_PRICES_FILE={file} can't be read: {error}.") from error


@contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """SIGTERM and SIGINT ask to stop; the second one does not wait for anything."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def asked() -> None:
        if stop.is_set():
            for number in numbers:
                loop.remove_signal_handler(number)
        stop.set()

    for number in numbers:
        loop.add_signal_handler(number, asked)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)

"""The composition root: starts the parts that the roles need in order, stops them in the opposite order."""

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import msgspec

from api.services import Services
from collector.config import Settings
from collector.errors import Misconfigured, Unavailable, XRayError
from collector.http_server import bind
from collector.parent_state import hear_parent, tell_children
from collector.parts import (
    Process,
    job_gauges,
    open_database,
    start_grpc_door,
    start_http_door,
    start_prices,
    start_reasoning,
    start_receiving,
    start_relay,
    start_retention,
)
from collector.shared_metrics import share, shared_folder
from collector.store.database import Database
from collector.store.own_folder import take_folder
from collector.supervisor import Supervisor

WATCH_S = 1.0
DATABASE_WITHIN_S = 2.0
GC_THRESHOLDS = (50_000, 20, 50)


class Address(msgspec.Struct, frozen=True):
    """Where a running X-Ray can be met; `grpc_port` is None where nothing is received."""

    host: str
    grpc_port: int | None
    http_port: int
    data: str
    reasoner: str
    roles: tuple[str, ...]


async def run(settings: Settings, url: Awaitable[str], announce: Callable[[Address], None]) -> None:
    """Everything the roles need on the database at `url`, until SIGTERM or SIGINT; `announce` is called once it can be
    used.

    Raises Misconfigured where it can't be started as it was asked to.
    """
    stop = asyncio.Event()
    with _signals(stop):
        async with AsyncExitStack() as stack:
            if settings.workers > 1:
                address = await (app := App(settings, stack, _shared_folder(settings, stack))).start_many(url)
            else:
                address = await (app := App(settings, stack)).start(url)
            if settings.ports_file:
                _write_ports(settings.ports_file, address)
            announce(address)
            await app.watch(stop)


async def run_receiver(settings: Settings, url: Awaitable[str], announce: Callable[[Address], None]) -> None:
    """One of several processes on the same ports, below a supervisor."""
    stop = asyncio.Event()
    with _signals(stop):
        async with AsyncExitStack() as stack:
            app = App(settings, stack, shared_folder())
            announce(await app.start(url))
            await app.watch(stop)


class App:
    """The parts of one process; the stack stops them, the one that was started last first."""

    def __init__(self, settings: Settings, stack: AsyncExitStack, shared: Path | None = None) -> None:
        self._settings = settings
        self._stack = stack
        self._process = Process(settings, stack, shared)
        self._children: Path | None = None
        """Where they are told how this process does."""

    async def start(self, url: Awaitable[str]) -> Address:
        """Start everything in this process; what was started is on the stack, also when this raises."""
        process, roles = self._process, self._settings.roles
        listener = self._bound(self._settings.http_port)
        database = await open_database(process, await url)
        await start_prices(process, database)
        relay = await start_relay(process, database)
        ingest = await start_receiving(process, database, relay) if "receive" in roles else None
        if "reason" in roles:
            await start_reasoning(process, database, relay, ingest)
            await start_retention(process, database)
        grpc_port = await start_grpc_door(process, ingest) if ingest else None
        services = Services(
            database=database,
            telemetry=process.telemetry,
            hub=process.hub,
            prices=process.prices,
            explains=self._settings.resolved_reasoner != "off",
            ready=lambda: self._readiness(database),
            before_metrics=job_gauges(process, database),
        )
        await start_http_door(process, services, ingest, listener)
        return self._started(grpc_port, listener)

    async def start_many(self, url: Awaitable[str]) -> Address:
        """Receive and serve in processes of their own that share the ports; the rest stays here."""
        settings, process = self._settings, self._process
        grpc, http = self._bound(settings.grpc_port), self._bound(settings.http_port)
        database = await open_database(process, opened := await url)
        await start_prices(process, database)
        if "reason" in settings.roles:
            await start_reasoning(process, database, await start_relay(process, database), None)
            await start_retention(process, database)
        told = msgspec.structs.replace(
            settings,
            database_url=opened,
            grpc_port=grpc.getsockname()[1],
            http_port=http.getsockname()[1],
            roles=tuple(role for role in settings.roles if role in {"receive", "serve"}),
            migrate=False,
        )
        supervisor = Supervisor(told, settings.workers)
        process.keep("supervisor", supervisor)
        self._children = process.shared
        await supervisor.start()
        self._on_hangup(supervisor)
        return self._started(told.grpc_port if "receive" in settings.roles else None, http)

    async def watch(self, stop: asyncio.Event) -> None:
        """Waits for the signal; ends at once, with an error, when a loop has died: it can't come back."""
        while not stop.is_set():
            dead = [name for name, is_alive in self._process.health.items() if not is_alive()]
            if dead:
                raise XRayError(f"The {' and the '.join(dead)} ended unexpectedly; see the log above.")
            if self._children:
                self._tell(self._children)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_S):
                    await stop.wait()

    def _tell(self, children: Path) -> None:
        try:
            tell_children(children, self._loops())
        except OSError as error:
            self._process.telemetry.errors.report("tell_children", error)

    async def _readiness(self, database: Database) -> dict[str, str]:
        """Every part: "ok", or what keeps it from its work."""
        of_parent = hear_parent(self._process.shared) if self._process.shared else {}
        own = {name: state for name, state in self._loops().items() if of_parent.get(name, "ok") == "ok"}
        return of_parent | own | {"database": await _database_state(database)}

    def _loops(self) -> dict[str, str]:
        health = self._process.health
        return {name: "ok" if is_alive() else "its loop has ended" for name, is_alive in health.items()}

    def _bound(self, port: int) -> socket.socket:
        listener = bind(self._settings.host, port, shared=self._settings.workers > 1)
        self._stack.callback(listener.close)
        return listener

    def _started(self, grpc_port: int | None, http: socket.socket) -> Address:
        # What lives now lives for good: the garbage collector need not look at it again.
        gc.freeze()
        gc.enable()
        # A request makes tens of thousands of objects and hardly a cycle: looked at less often, a tenth less work.
        gc.set_threshold(*GC_THRESHOLDS)
        settings = self._settings
        data = "the Postgres of XRAY_DATABASE_URL" if settings.database_url else str(settings.data_dir)
        reasoner = settings.resolved_reasoner
        return Address(settings.host, grpc_port, http.getsockname()[1], data, reasoner, settings.roles)

    def _on_hangup(self, supervisor: Supervisor) -> None:
        """SIGHUP: every process is replaced, one at a time."""
        loop, running = asyncio.get_running_loop(), set[asyncio.Task[None]]()

        def replace() -> None:
            task = asyncio.create_task(supervisor.replace())
            running.add(task)
            task.add_done_callback(running.discard)

        loop.add_signal_handler(signal.SIGHUP, replace)
        self._stack.callback(loop.remove_signal_handler, signal.SIGHUP)


def _shared_folder(settings: Settings, stack: AsyncExitStack) -> Path:
    """Where this process and its children count, and are told how their parent does."""
    folder = take_folder(settings.data_dir / "processes", "do with one process, XRAY_WORKERS=1")
    stack.callback(folder.free)
    share(folder.path)
    return folder.path


def _write_ports(file: Path, address: Address) -> None:
    """Whole at once: whoever waits for the file never reads half of it."""
    ports = {"grpc": address.grpc_port, "http": address.http_port}
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(ports))
        draft.replace(file)
    except OSError as error:
        raise Misconfigured(
            f"XRAY_PORTS_FILE={file} can't be written ({error.strerror}): name a file in a folder that is there."
        ) from error


async def _database_state(database: Database) -> str:
    try:
        async with asyncio.timeout(DATABASE_WITHIN_S), database.connection() as connection:
            read_only = await connection.fetchval("SHOW transaction_read_only")
    except (Unavailable, TimeoutError):
        return "can't be reached"
    return "ok" if read_only == "off" else "takes no writes"


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

"""The parts of a process: each is built from the settings, started, and put on the stack that stops it."""

import asyncio
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

from api.hub import Hub
from api.probes import Probes
from api.rest import Rest, load
from api.services import Services
from collector.asgi import ASGIApp
from collector.config import Settings
from collector.errors import Misconfigured, Unavailable
from collector.http_server import serving
from collector.pricing import price_table
from collector.reasoning.making import make_worker
from collector.reasoning.policy import EXPLAINED_KINDS
from collector.reasoning.redact import Redactor
from collector.receiver.admission import Admission
from collector.receiver.grpc import GrpcOptions, start_grpc
from collector.receiver.http import HttpOptions, OtlpHttp
from collector.receiver.ingest import Ingest, Store
from collector.receiver.tls import Certificates
from collector.redacting import RedactingStore
from collector.store.asking import count_jobs
from collector.store.database import Database
from collector.store.folding import Folding
from collector.store.notify import connects_to
from collector.store.own_folder import take_folder
from collector.store.prices import PriceKeeper, refresh
from collector.store.relay import Relay
from collector.store.retention import Retention
from collector.store.spool import Spool
from collector.store.trimming import Trimming
from collector.store.writer import Writer, WriterOptions
from collector.telemetry import Telemetry

GRPC_GRACE_S = 5.0
GAUGES_WITHIN_S = 2.0


class Part(Protocol):
    """Something with a loop of its own."""

    @property
    def is_healthy(self) -> bool: ...

    async def stop(self) -> None: ...


class Process:
    """What all parts of one process share; `shared` is the folder of one that is not alone."""

    def __init__(self, settings: Settings, stack: AsyncExitStack, shared: Path | None = None) -> None:
        self.settings = settings
        self.shared = shared
        self.telemetry = Telemetry(shared)
        self.hub = Hub()
        self.prices = price_table(settings)
        self.health: dict[str, Callable[[], bool]] = {}
        """By part: whether its loops live."""
        self.at_exit = stack
        self.certificates: Certificates | None = None
        """None: no TLS."""
        if settings.tls_cert and settings.tls_key:
            files = (settings.tls_cert, settings.tls_key, settings.tls_client_ca)
            self.certificates = Certificates(*files, self.telemetry.errors)

    def keep(self, name: str, part: Part) -> None:
        """Stop it at the end, and watch it until then."""
        self.at_exit.push_async_callback(part.stop)
        self.health[name] = lambda: part.is_healthy


async def open_database(process: Process, url: str) -> Database:
    database = await Database.open(url)
    database.most_projects = process.settings.max_projects
    process.at_exit.push_async_callback(database.close)
    trimming = Trimming(database, process.telemetry)
    process.keep("trimming", trimming)
    await trimming.start()
    return database


async def start_prices(process: Process, database: Database) -> None:
    keeper = PriceKeeper(database, process.prices, process.telemetry)
    process.keep("prices", keeper)
    # Nobody prices anything before they are known.
    await refresh(database, process.prices)
    await keeper.start()


async def start_relay(process: Process, database: Database) -> Relay:
    """Streams of other processes hear of what is committed here; ours hear of theirs where we serve."""
    relay, direct = Relay(database, process.telemetry.errors), process.settings.listen_database_url
    relay.start(
        process.hub.tell if "serve" in process.settings.roles else None, connects_to(direct) if direct else None
    )
    process.keep("relay", relay)
    return relay


async def start_receiving(process: Process, database: Database, relay: Relay) -> Ingest:
    settings, telemetry = process.settings, process.telemetry
    options = WriterOptions(
        explained_kinds=EXPLAINED_KINDS,
        explain=settings.resolved_reasoner != "off",
        settle_ms=settings.reasoner_settle_ms,
        settle_limit_ms=settings.reasoner_settle_limit_ms,
    )
    writer = Writer(database, options, telemetry)
    writer.on_commit += [process.hub.tell, relay.announce]
    process.keep("writer", writer)
    await writer.start()
    admission = Admission(settings.max_inflight_bytes, observe=telemetry.metrics.inflight_bytes.set)
    ingest = Ingest(_before(settings, writer), database, admission, telemetry)
    process.at_exit.push_async_callback(ingest.stop)
    if settings.spool_bytes:
        await _start_spool(process, ingest, writer)
    return ingest


def _before(settings: Settings, store: Store) -> Store:
    """What stands before the store: the redactor, where the settings ask for it."""
    return RedactingStore(store, Redactor(settings.reasoner_redact_patterns)) if settings.redact_storage else store


async def _start_spool(process: Process, ingest: Ingest, writer: Writer) -> None:
    settings = process.settings
    folder = take_folder(settings.data_dir / "spool", "do without a spool with XRAY_SPOOL_BYTES=0")
    process.at_exit.callback(folder.free)
    spool = Spool(folder.path, settings.spool_bytes, process.telemetry)
    try:
        await spool.open()
    except (OSError, sqlite3.Error) as error:
        raise Misconfigured(f"The spool in {folder.path} can't be used: {error}.") from error
    process.keep("spool", spool)
    spool.start(ingest.replay, lambda: writer.is_available)
    ingest.use_spool(spool)


async def start_retention(process: Process, database: Database) -> None:
    retention = Retention(database, process.settings.retention_days, process.telemetry)
    process.keep("retention", retention)
    await retention.start()


async def start_reasoning(process: Process, database: Database, relay: Relay, ingest: Ingest | None) -> None:
    worker = make_worker(process.settings, database, process.telemetry, process.prices)
    if ingest is not None:
        worker.use(busy=lambda: ingest.admission.used_bytes > 0)
    worker.on_commit.extend((process.hub.tell, relay.announce))
    process.keep("worker", worker)
    await worker.start()
    folding = Folding(database, process.telemetry)
    process.keep("folding", folding)
    await folding.start()


async def start_grpc_door(process: Process, ingest: Ingest) -> int:
    """The port it got."""
    settings = process.settings
    options = GrpcOptions(
        host=settings.host,
        port=settings.grpc_port,
        max_message_bytes=settings.max_message_bytes,
        share_port=settings.workers > 1,
        is_serving=lambda: all(is_alive() for is_alive in process.health.values()),
        credentials=process.certificates.grpc_credentials() if process.certificates else None,
    )
    server = await start_grpc(ingest, options)
    process.at_exit.push_async_callback(server.stop, GRPC_GRACE_S)
    return server.port


async def start_http_door(
    process: Process,
    services: Services,
    ingest: Ingest | None,
    listener: socket.socket,
) -> None:
    settings = process.settings
    app: ASGIApp = Probes(services, then=Rest(lambda: load(services, serves="serve" in settings.roles)))
    if ingest is not None:
        options = HttpOptions(max_message_bytes=settings.max_message_bytes, cors_origins=settings.cors_origins)
        app = OtlpHttp(ingest, options, then=app)
    tls = process.certificates.http_context() if process.certificates else None
    server = await process.at_exit.enter_async_context(serving(app, listener, tls))
    process.health["http"] = lambda: not server.done()
    process.at_exit.callback(services.hub.close)


def job_gauges(process: Process, database: Database) -> Callable[[], Awaitable[None]]:
    """Brings the gauges of the queue up to date; a database that is away leaves them as they were."""
    metrics = process.telemetry.metrics

    async def refresh() -> None:
        try:
            async with asyncio.timeout(GAUGES_WITHIN_S), database.connection() as connection:
                counts = await count_jobs(connection)
        except (Unavailable, TimeoutError):
            return
        for status in ("pending", "processing", "failed", "cancelled"):
            metrics.reasoning_jobs.labels(status).set(getattr(counts, status))
        metrics.reasoning_oldest_pending.set(counts.oldest_pending_age_s or 0.0)

    return refresh

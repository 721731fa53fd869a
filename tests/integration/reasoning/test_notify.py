"""NOTIFY is a hint: with it work starts at once, without it at the next poll, and a dead listener is replaced."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from collector.reasoning.worker import WorkerOptions
from collector.store.database import Database
from collector.store.notify import CHANNEL, Listener, connects_to
from collector.store.writer import WriterOptions
from tests.integration.reasoning.queue import arrive
from tests.integration.reasoning.test_worker import RULES, is_quiet, until, working
from tests.integration.store.writer_rows import rows, writing

NOTIFY = f"NOTIFY {CHANNEL}"


class Heard:
    """Counts wake-ups."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self._changed.set()

    async def more_than(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.count <= count:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def listening(
    connect: Callable[[], Awaitable[asyncpg.Connection]], **options: Any
) -> AsyncIterator[tuple[Listener, Heard, list[BaseException]]]:
    heard, errors = Heard(), []
    listener = Listener(connect, heard, **options)
    task = asyncio.create_task(listener.run(errors.append))
    try:
        await heard.more_than(0)
        yield listener, heard, errors
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_notification_wakes(database: Database) -> None:
    async with listening(database.connect) as (_, heard, errors):
        before = heard.count
        async with database.connection() as conn:
            await conn.execute(NOTIFY)
        await heard.more_than(before)
    assert errors == []


async def test_a_listener_whose_server_process_dies_comes_back_and_looks(database: Database) -> None:
    async with listening(database.connect) as (listener, heard, _):
        before = heard.count
        async with database.connection() as conn:
            await conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        await heard.more_than(before)
        assert listener.connections == 2


@pytest.mark.parametrize("fault", ["silent", "forgotten"])
async def test_a_listener_that_hears_nothing_any_more_is_noticed(
    database: Database, tcp_database_url: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half-open TCP, as behind a firewall that forgot the connection; and a pooler that gave the session to others."""
    monkeypatch.setattr("collector.store.notify.CHECK_LIMIT_S", 0.3)
    made: list[asyncpg.Connection] = []
    async with black_hole(tcp_database_url) as (url, swallow):

        async def connect() -> asyncpg.Connection:
            made.append(await connects_to(url)())
            return made[-1]

        async with listening(connect, check_s=0.1) as (listener, heard, errors):
            before = heard.count
            if fault == "silent":
                swallow.set()
            else:
                await made[0].execute(f"UNLISTEN {CHANNEL}")
            await until(lambda: as_coroutine(bool(errors)))
            swallow.clear()
            await heard.more_than(before)
            assert listener.connections >= 2
            before = heard.count
            async with database.connection() as conn:
                await conn.execute(NOTIFY)
            await heard.more_than(before)


async def as_coroutine(value: Any) -> Any:
    return value


@asynccontextmanager
async def black_hole(url: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A TCP proxy that swallows every byte from the server on while the event is set; the connections stay open."""
    host, _, rest = url.rpartition("@")
    port = int(rest.split("/")[0].split(":")[1])
    swallow = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, swallows: bool) -> None:
        while data := await reader.read(65_536):
            if not (swallows and swallow.is_set()):
                writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, back))
        try:
            await asyncio.gather(pump(reader, back, swallows=False), pump(there, writer, swallows=True))
        except ConnectionError:
            pass
        finally:
            writer.close()
            back.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    own_port = server.sockets[0].getsockname()[1]
    try:
        yield f"{host}@127.0.0.1:{own_port}/{rest.split('/')[1]}", swallow
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


@pytest.mark.parametrize("listen", [True, False])
async def test_reasoning_is_there_soon_after_the_last_span(database: Database, listen: bool) -> None:
    settle_s = 0.3
    told = WriterOptions(explained_kinds=frozenset({"tool"}), settle_ms=int(settle_s * 1000), notify=listen)
    options = WorkerOptions(settle_ms=told.settle_ms, poll_ms=60_000 if listen else 500, listen=listen)
    async with writing(database, told) as writer, working(database, RULES, options):
        if listen:
            await until(lambda: rows(database, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"))
        await arrive(writer)
        last = time.monotonic()
        await until(lambda: is_quiet(database))
        assert settle_s * 0.9 < time.monotonic() - last < settle_s + 1

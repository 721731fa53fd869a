"""Overload, impatient clients, and stopping: memory is bounded, and a commit that others share goes through."""

import asyncio
import gzip
import threading
from typing import Any

import grpc
import pytest

from collector.errors import Overloaded, Rejected, Unavailable
from collector.model import Batch, Refusal
from collector.receiver.decode import Encoding
from collector.receiver.ingest import LARGE_BYTES, Export, Signal
from collector.store.database import Database
from collector.store.spool_file import Spooled
from collector.store.writer import Writer, WriterOptions
from tests.integration.receiver.conftest import MEBIBYTE, PROTOBUF, SERVICES, Receiver, Setup, receiving
from tests.integration.receiver.otlp import logs, post_head, span, traces


class Gate:
    """A store that stores nothing before it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.entered = asyncio.Event()
        self.steps = 0

    async def write(self, batch: Batch) -> list[Refusal]:
        self.entered.set()
        await self.opened.wait()
        self.steps += len(batch.steps)
        return []


def big(size: int = 900_000) -> Any:
    return traces(span(attributes={"text": "x" * size}))


@pytest.mark.parametrize("route", ["grpc", "http"])
async def test_a_full_house_waits_and_then_refuses(database: Database, route: str) -> None:
    gate = Gate()
    async with receiving(database, Setup(store=gate, budget_bytes=MEBIBYTE, patience_s=0.3)) as receiver:
        first = asyncio.create_task(receiver.send(route, big()))
        await gate.entered.wait()
        outcome = await receiver.send(route, big())
        assert outcome.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert outcome.http_status in (None, 503)
        assert outcome.retry_after_s is not None
        assert 1 <= outcome.retry_after_s <= 3
        gate.opened.set()
        assert (await first).ok
        assert (await receiver.send(route, big())).ok
        assert receiver.ingest.admission.used_bytes == 0
        assert receiver.counted("xray_inflight_bytes") == 0


@pytest.mark.parametrize("route", ["grpc", "http"])
async def test_who_waits_is_let_in_when_there_is_room(database: Database, route: str) -> None:
    gate = Gate()
    async with receiving(database, Setup(store=gate, budget_bytes=MEBIBYTE, patience_s=10)) as receiver:
        calls = [asyncio.create_task(receiver.send(route, big())) for _ in range(4)]
        await gate.entered.wait()
        gate.opened.set()
        assert all(outcome.ok for outcome in await asyncio.gather(*calls))
        assert gate.steps == 4


@pytest.mark.parametrize("route", ["grpc", "http"])
async def test_the_budget_is_counted_and_given_back(database: Database, route: str) -> None:
    gate = Gate()
    async with receiving(database, Setup(store=gate)) as receiver:
        call = asyncio.create_task(receiver.send(route, big(500_000)))
        await gate.entered.wait()
        assert 500_000 < receiver.counted("xray_inflight_bytes") < 600_000
        gate.opened.set()
        await call
        assert receiver.counted("xray_inflight_bytes") == 0


async def test_a_client_that_gives_up_takes_nothing_back(database: Database) -> None:
    """Deadline and cancellation reach the call, not the commit; its bytes stay counted until then."""
    gate = Gate()
    async with receiving(database, Setup(store=gate)) as receiver:
        body = big().SerializeToString()
        export = receiver.channel.unary_unary(f"/{SERVICES['traces'][0]}/Export")
        late, cancelled = export(body, timeout=0.5), export(body)
        await gate.entered.wait()
        with pytest.raises(grpc.aio.AioRpcError):
            await late
        cancelled.cancel()
        assert receiver.ingest.admission.used_bytes > 900_000
        gate.opened.set()
        await receiver.ingest.stop()
        assert gate.steps == 2
        assert receiver.ingest.admission.used_bytes == 0


async def test_a_client_that_hangs_up_takes_nothing_back(database: Database) -> None:
    gate = Gate()
    async with receiving(database, Setup(store=gate)) as receiver:
        body = traces(span()).SerializeToString()
        _, writer = await asyncio.open_connection("127.0.0.1", receiver.http_port)
        writer.write(post_head(len(body), "application/x-protobuf") + body)
        await gate.entered.wait()
        writer.close()
        gate.opened.set()
        await receiver.ingest.stop()
        assert gate.steps == 1


async def test_a_store_that_hangs_is_answered_for(database: Database) -> None:
    async with receiving(database, Setup(store=Gate())) as receiver:
        receiver.ingest.answer_within_s = 0.2
        for route in ("grpc", "http"):
            outcome = await receiver.send(route, traces(span()))
            assert outcome.code == grpc.StatusCode.UNAVAILABLE.value[0]
            assert outcome.retry_after_s
        receiver.ingest._store.opened.set()


@pytest.mark.parametrize("setup", [Setup(budget_bytes=8 * MEBIBYTE, patience_s=0.5)])
async def test_many_bombs_leave_the_receiver_alive(receiver: Receiver) -> None:
    bomb = gzip.compress(b"\0" * (80 * MEBIBYTE))
    headers = PROTOBUF | {"content-encoding": "gzip"}
    outcomes = await asyncio.gather(*(receiver.http(bomb, headers) for _ in range(6)))
    assert {outcome.http_status for outcome in outcomes} <= {413, 503}
    assert (await receiver.send("http", traces(span()))).ok
    assert receiver.ingest.admission.used_bytes == 0


async def test_large_requests_are_worked_on_beside_the_loop(receiver: Receiver) -> None:
    def request(size: int) -> Export:
        return Export(signal=Signal.TRACES, encoding=Encoding.PROTOBUF, body=bytes(size))

    here = threading.current_thread()
    assert await receiver.ingest._work(request(1000), threading.current_thread) is here
    assert await receiver.ingest._work(request(LARGE_BYTES + 1), threading.current_thread) is not here
    assert (await receiver.send("grpc", big(LARGE_BYTES))).ok
    assert len(await receiver.steps()) == 1


class Spool:
    """A spool in memory: what the receiver needs of one."""

    def __init__(self) -> None:
        self.requests: list[Spooled] = []

    async def append(self, request: Spooled) -> None:
        self.requests.append(request)


class Away:
    """Postgres that is away until it is not, for the writer and for the look-up of projects."""

    def __init__(self, database: Database) -> None:
        self.is_away = True
        self.writer = Writer(database, WriterOptions(explain=False, notify=False))
        self.database = database

    def look(self) -> None:
        if self.is_away:
            raise Unavailable("Postgres is away.")

    async def write(self, batch: Batch) -> list[Refusal]:
        self.look()
        return await self.writer.write(batch)

    async def project_id(self, name: str, **_limits: bool) -> int:
        self.look()
        return await self.database.project_id(name)


@pytest.mark.parametrize("knows_projects", [True, False])
async def test_while_postgres_is_away_the_spool_takes_it(database: Database, route: str, knows_projects: bool) -> None:
    spool, away = Spool(), Away(database)
    await away.writer.start()
    setup = Setup(store=away, projects=database if knows_projects else away)
    async with receiving(database, setup) as receiver:
        receiver.ingest.use_spool(spool)
        record = {"trace_id": b"t" * 16, "span_id": b"s" * 8}
        outcome = await receiver.send(
            route, traces(span("one"), span(span_id=b"bad"), resource={"xray.project": "team"})
        )
        assert (outcome.code, outcome.rejected) == (0, 1)
        assert (await receiver.send(route, logs(record), "logs")).ok
        assert await receiver.steps() == []
        with pytest.raises(Unavailable):
            await receiver.ingest.replay(spool.requests[0])
        away.is_away = False
        for request in [*spool.requests, *spool.requests]:
            await receiver.ingest.replay(request)
        rows = await receiver.rows(
            "SELECT s.name, p.name AS project FROM steps s JOIN projects p ON p.id = s.project_id"
        )
        assert [(row["name"], row["project"]) for row in rows] == [("one", "team")]
        assert len(await receiver.rows("SELECT * FROM records")) == 1
        assert receiver.counted("xray_spans_accepted_total") == 1
    await away.writer.stop()


class Silent(Gate):
    """Postgres that takes what it is given, and says nothing."""

    async def project_id(self, _: str, **_limits: bool) -> int:
        await self.opened.wait()
        return 1


@pytest.mark.parametrize("knows_projects", [True, False])
async def test_while_postgres_hangs_the_spool_takes_it(database: Database, knows_projects: bool) -> None:
    spool, silent = Spool(), Silent()
    async with receiving(database, Setup(store=silent, projects=database if knows_projects else silent)) as receiver:
        receiver.ingest.use_spool(spool)
        receiver.ingest.stored_within_s = 0.1
        assert (await receiver.send("grpc", traces(span()))).ok
        assert len(spool.requests) == 1
        silent.opened.set()


@pytest.mark.parametrize("error", [Overloaded("full"), Rejected("wrong")])
async def test_the_spool_takes_nothing_else(database: Database, error: Exception) -> None:
    class Failing:
        async def write(self, _: Batch) -> list[Refusal]:
            raise error

    spool = Spool()
    async with receiving(database, Setup(store=Failing())) as receiver:
        receiver.ingest.use_spool(spool)
        assert not (await receiver.send("grpc", traces(span()))).ok
        assert spool.requests == []

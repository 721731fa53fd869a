"""The worker with the rules: from a committed execution to its explanation."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from collector.model import EXECUTION_SPAN, Explanation
from collector.reasoning.case import Case
from collector.reasoning.reasoner import Engine
from collector.reasoning.rules import Rules
from collector.reasoning.worker import Worker, WorkerOptions
from collector.store.database import Database, Target, _make_engine
from collector.telemetry import Telemetry
from tests.integration.reasoning.queue import AT_ONCE, arrive, statuses, texts
from tests.integration.store.writer_rows import execution, rows, writing

OPTIONS = WorkerOptions(settle_ms=0, poll_ms=50, sweep_ms=100, lease_ms=60_000)
RULES = Engine(Rules(), "rules")


@asynccontextmanager
async def working(
    database: Database, engine: Engine | None = RULES, options: WorkerOptions = OPTIONS
) -> AsyncIterator[Worker]:
    worker = Worker(database, engine, options, Telemetry())
    await worker.start()
    try:
        yield worker
        assert worker.is_healthy
    finally:
        await worker.stop()


async def until(probe: Callable[[], Awaitable[Any]], within_s: float = 10) -> Any:
    async with asyncio.timeout(within_s):
        while not (answer := await probe()):
            await asyncio.sleep(0.01)
        return answer


async def is_quiet(database: Database) -> bool:
    return not await rows(database, "SELECT 1 FROM reasoning_jobs WHERE status IN ('pending', 'processing')")


async def test_every_execution_is_explained_and_settled(database: Database) -> None:
    told: list[Any] = []
    async with writing(database, AT_ONCE) as writer, working(database) as worker:
        worker.on_commit.append(told.extend)
        keys = [await arrive(writer) for _ in range(30)]
        await until(lambda: is_quiet(database))
    for key in keys:
        assert await statuses(database, key) == ["completed"] * 4
        assert (await execution(database, key.trace_id))["settled"]
        assert EXECUTION_SPAN in await texts(database, key)
    assert set(told) == set(keys)


async def test_without_an_engine_executions_only_settle(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer, working(database, None):
        key = await arrive(writer)
        await until(lambda: is_quiet(database))
    assert (await execution(database, key.trace_id))["settled"]
    assert await texts(database, key) == {}


class Blamed(Rules):
    """Rules that can't do one of the executions."""

    def __init__(self, unlucky: bytes) -> None:
        self._unlucky = unlucky

    async def explain(self, case: Case) -> list[Explanation]:
        if case.key.trace_id == self._unlucky:
            raise ZeroDivisionError("with a secret in it")
        return await super().explain(case)


async def test_one_faulty_execution_costs_only_itself(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        keys = [await arrive(writer) for _ in range(5)]
    options = WorkerOptions(settle_ms=0, poll_ms=50, max_attempts=1)
    async with working(database, Engine(Blamed(keys[0].trace_id), "rules"), options):
        await until(lambda: is_quiet(database))
    assert await statuses(database, keys[0]) == ["failed"] * 4
    for key in keys[1:]:
        assert await statuses(database, key) == ["completed"] * 4
    (found,) = await rows(database, "SELECT DISTINCT error FROM reasoning_ledger WHERE status = 'failed'")
    assert found["error"] == "ZeroDivisionError while explaining"


async def test_a_pooler_without_prepared_statements_is_enough(database_url: str) -> None:
    target = Target(database_url, prepares=False)
    pooled = Database(target, _make_engine(target, 5))
    options = msgspec.structs.replace(OPTIONS, listen=False)
    async with writing(pooled, AT_ONCE) as writer, working(pooled, RULES, options):
        keys = [await arrive(writer) for _ in range(5)]
        await until(lambda: is_quiet(pooled))
        for key in keys:
            assert await statuses(pooled, key) == ["completed"] * 4
    await pooled.close()


class Meeting(Rules):
    """Rules that explain one execution no sooner than another one."""

    def __init__(self) -> None:
        self.barrier = asyncio.Barrier(2)

    async def explain(self, case: Case) -> list[Explanation]:
        await self.barrier.wait()
        return await super().explain(case)


async def test_two_batches_are_in_work_where_there_is_plenty(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        keys = [await arrive(writer) for _ in range(2)]
    async with working(database, Engine(Meeting(), "rules"), msgspec.structs.replace(OPTIONS, batch=1)):
        await until(lambda: is_quiet(database))
    for key in keys:
        assert await statuses(database, key) == ["completed"] * 4


async def test_a_loop_that_died_is_seen(database: Database) -> None:
    worker = Worker(database, RULES, OPTIONS, Telemetry())
    assert not worker.is_healthy
    await worker.start()
    assert worker.is_healthy
    worker._helpers[0].cancel()
    await asyncio.wait([worker._helpers[0]])
    assert not worker.is_healthy
    await worker.stop()
    await worker.stop()


async def test_a_very_large_execution_is_explained_part_by_part(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.store.jobs.STEPS_AT_ONCE", 30)
    async with writing(database, AT_ONCE) as writer, working(database):
        key = await arrive(writer, steps=100)
        await until(lambda: is_quiet(database))
    assert await statuses(database, key) == ["completed"] * 102


async def test_a_batch_is_worked_on_in_parts_and_large_executions_without_their_content(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.reasoning.work.STEPS_AT_ONCE", 10)
    monkeypatch.setattr("collector.store.loading.LARGE", 20)
    seen: list[Case] = []

    class Watched(Rules):
        async def explain(self, case: Case) -> list[Explanation]:
            seen.append(case)
            return await super().explain(case)

    async with writing(database, AT_ONCE) as writer:
        small = [await arrive(writer, steps=2) for _ in range(5)]
        large = await arrive(writer, steps=30)
        async with database.connection() as conn:
            await conn.execute("UPDATE steps SET output = '\"out\"'")
    async with working(database, Engine(Watched(), "rules")):
        await until(lambda: is_quiet(database))
    assert {case.key for case in seen} == {*small, large}
    outputs = {case.key: [step.output for step in case.steps] for case in seen}
    assert set(outputs[small[0]]) == {'"out"'}
    assert sorted(outputs[large], key=str) == ['"out"'] + [None] * 30

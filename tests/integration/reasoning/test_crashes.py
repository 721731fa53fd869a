"""Workers that are killed, frozen, restarted, and a Postgres that goes away: every step is explained exactly once."""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector.config import Settings
from collector.model import ExecutionKey
from collector.reasoning.making import make_worker
from collector.reasoning.worker import WorkerOptions
from collector.store.database import Database
from collector.store.embedded import EmbeddedPostgres
from collector.store.leases import WORKER_LOST
from collector.store.migrate import migrate
from collector.telemetry import Telemetry
from tests.fake_provider import FakeProvider
from tests.integration.reasoning import queue
from tests.integration.reasoning.mortal import Fate, living, mortal_database
from tests.integration.reasoning.queue import AT_ONCE, arrive, job, statuses, texts
from tests.integration.reasoning.test_model import reasoning
from tests.integration.reasoning.test_worker import RULES, is_quiet, until, working
from tests.integration.reasoning.worker_process import ENDED, KILLED_ITSELF, Order
from tests.integration.store.writer_rows import rows, writing

SCRIPT = "tests.integration.reasoning.worker_process"
SHORT_LEASE = {"reasoner_lease_ms": 1_000}
RULES_ONLY = {"reasoner": "rules", "reasoner_settle_ms": 0}


@asynccontextmanager
async def process(mode: str, url: str, **order: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    told = msgspec.json.encode(Order(url=url, **order)).decode()
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(sys.executable, "-m", SCRIPT, mode, told, stdin=pipe, stdout=pipe)
    try:
        if mode == "run":
            assert await line(running) == "ready"
        yield running
    finally:
        if running.returncode is None:
            running.send_signal(signal.SIGCONT)
            running.kill()
        await running.communicate()


async def line(running: asyncio.subprocess.Process) -> str:
    assert running.stdout is not None
    async with asyncio.timeout(30):
        return (await running.stdout.readline()).decode().strip()


def model(fake: FakeProvider, **settings: Any) -> dict[str, Any]:
    own = {"reasoner": "openai", "reasoner_settle_ms": 0, "openai_base_url": fake.url, "openai_api_key": "sk-test"}
    return own | settings


async def end(running: asyncio.subprocess.Process) -> dict[str, Any]:
    """SIGTERM, and what the process says at its end."""
    running.send_signal(signal.SIGTERM)
    said: dict[str, Any] = json.loads(await line(running))
    return said


@pytest.mark.parametrize("reasoner", ["rules", "openai"])
async def test_killed_before_any_statement(
    database: Database, database_url: str, fake: FakeProvider, reasoner: str
) -> None:
    """One execution for each statement of the work: a worker takes it and dies there; another one finds it later."""
    settings = RULES_ONLY if reasoner == "rules" else model(fake, reasoner_concurrency=1)
    keys: list[ExecutionKey] = []
    async with writing(database, AT_ONCE) as writer:
        died = True
        while died:
            keys.append(await arrive(writer))
            died = await dies(database, database_url, settings, keys)
            await put_off(database)
    assert len(keys) > 8, "the work has that many statements at least"
    await bring_back(database)
    await finish(database, fake, reasoner)
    for key in keys:
        assert await statuses(database, key) == ["completed"] * 4
    attempts = await rows(database, "SELECT DISTINCT attempts FROM reasonings")
    assert {row["attempts"] for row in attempts} == {1, 2}
    check_calls(fake, keys)


def check_calls(fake: FakeProvider, keys: list[ExecutionKey]) -> None:
    """A crash may cost one call, and only in the moment between its answer and its place in the cache."""
    if fake.calls:
        calls = [sum(key.trace_id.hex() in str(call) for call in fake.calls) for key in keys]
        assert set(calls) == {1, 2}
        assert calls.count(2) < len(keys) / 3


async def dies(database: Database, url: str, settings: dict[str, Any], keys: list[ExecutionKey]) -> bool:
    """Lets a worker do what is due, and says whether it died before it was done."""
    fate = Fate(len(keys))
    async with mortal_database(url, fate) as mine:
        worker = make_worker(Settings(**settings), mine, Telemetry())
        # One look is enough: nothing is polled for.
        worker._options = msgspec.structs.replace(worker._options, listen=False, poll_ms=60_000, sweep_ms=60_000)
        async with living(worker, fate):

            async def is_over() -> bool:
                return fate.died.is_set() or await is_done(database, keys[-1])

            await until(is_over)
            return fate.died.is_set()


async def is_done(database: Database, key: ExecutionKey) -> bool:
    return not await rows(database, "SELECT 1 FROM reasoning_jobs WHERE project_id = $1 AND trace_id = $2", *key)


async def finish(database: Database, fake: FakeProvider, reasoner: str) -> None:
    if reasoner == "rules":
        async with working(database):
            await until(lambda: is_quiet(database), within_s=20)
    else:
        async with reasoning(database, fake):
            await until(lambda: is_quiet(database), within_s=20)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("reasoner", ["rules", "openai"])
async def test_killed_for_good_before_any_statement(
    database: Database, database_url: str, fake: FakeProvider, reasoner: str
) -> None:
    """The same with processes and SIGKILL."""
    settings = RULES_ONLY if reasoner == "rules" else model(fake)
    keys: list[ExecutionKey] = []
    async with (
        writing(database, AT_ONCE) as writer,
        process("die", database_url, settings=settings) as dying,
    ):
        assert dying.stdin is not None
        how = KILLED_ITSELF
        while how == KILLED_ITSELF:
            keys.append(await arrive(writer))
            dying.stdin.write(b"next\n")
            how = int(await line(dying))
            await put_off(database)
        assert how == ENDED
    await bring_back(database)
    await finish(database, fake, reasoner)
    for key in keys:
        assert await statuses(database, key) == ["completed"] * 4
    check_calls(fake, keys)


async def put_off(database: Database) -> None:
    """Nobody takes these until they are brought back; the place at the provider that the dead one held is free."""
    async with database.connection() as conn:
        await conn.execute("UPDATE provider_slots SET lease_until = now()")
        await conn.execute("UPDATE reasoning_jobs SET lease_until = lease_until + interval '1 day'")
        await conn.execute(
            "UPDATE reasoning_jobs SET run_at = run_at + interval '1 day' WHERE status = 'pending' AND run_at < now()"
        )


async def bring_back(database: Database) -> None:
    async with database.connection() as conn:
        await conn.execute("UPDATE reasoning_jobs SET lease_until = now() - interval '1 minute'")
        await conn.execute("UPDATE reasoning_jobs SET run_at = now() WHERE status = 'pending' AND run_at < 'infinity'")


async def test_a_frozen_worker_loses_its_lease_and_writes_nothing(
    database: Database, database_url: str, fake: FakeProvider
) -> None:
    fake.open.clear()
    async with (
        writing(database, AT_ONCE) as writer,
        process("run", database_url, settings=model(fake, **SHORT_LEASE)) as frozen,
    ):
        key = await arrive(writer)
        await asyncio.wait_for(fake.arrived.wait(), 10)
        frozen.send_signal(signal.SIGSTOP)
        fake.open.set()
        async with reasoning(database, fake):
            await until(lambda: came_back(database, key))
            await until(lambda: is_quiet(database))
        before = await rows(database, "SELECT * FROM reasonings ORDER BY span_id")
        frozen.send_signal(signal.SIGCONT)
        assert (await end(frozen))["lost"] >= 1
    assert await rows(database, "SELECT * FROM reasonings ORDER BY span_id") == before
    assert {row["attempts"] for row in before} == {2}
    # Once by each worker, however the second one parts what came back to it.
    asked = Counter(alias for aliases in fake.asked for alias in aliases)
    assert set(asked.values()) == {2}


async def came_back(database: Database, key: ExecutionKey) -> bool:
    """The sweep found the lost job; its delay need not be waited for."""
    lost = await rows(database, "SELECT 1 FROM reasoning_jobs WHERE status = 'pending' AND attempts = 1")
    if lost:
        await queue.pass_time(database, key, minutes=1)
    return bool(lost)


async def test_killed_in_the_middle_of_a_call(database: Database, database_url: str, fake: FakeProvider) -> None:
    fake.open.clear()
    async with writing(database, AT_ONCE) as writer:
        async with process("run", database_url, settings=model(fake, reasoner_concurrency=1, **SHORT_LEASE)) as killed:
            key = await arrive(writer)
            await asyncio.wait_for(fake.arrived.wait(), 10)
            killed.kill()
            await killed.wait()
        fake.open.set()
        async with reasoning(database, fake, reasoner_concurrency=1):
            await until(lambda: came_back(database, key))
            await until(lambda: is_quiet(database))
    assert await statuses(database, key) == ["completed"] * 4
    assert len(fake.calls) == 2


async def test_two_processes_never_explain_a_step_twice(
    database: Database, database_url: str, fake: FakeProvider
) -> None:
    settings = model(fake)
    async with (
        process("run", database_url, settings=settings) as one,
        process("run", database_url, settings=settings) as two,
        writing(database, AT_ONCE) as writer,
    ):
        keys = [await arrive(writer) for _ in range(30)]
        await until(lambda: is_quiet(database), within_s=20)
        assert [(await end(worker))["lost"] for worker in (one, two)] == [0, 0]
    assert len(fake.calls) == len(keys)
    assert {row["attempts"] for row in await rows(database, "SELECT DISTINCT attempts FROM reasonings")} == {1}


async def test_ten_restarts_during_one_job_cost_no_attempt(
    database: Database, database_url: str, fake: FakeProvider
) -> None:
    fake.open.clear()
    async with writing(database, AT_ONCE) as writer:
        key = await arrive(writer)
    for calls in range(1, 11):
        async with reasoning(database, fake, stop_within_s=0.01):
            await until(lambda calls=calls: has_calls(fake, calls))
    assert (await job(database, key))["attempts"] == 0
    assert (await job(database, key))["status"] == "pending"
    fake.open.set()
    async with reasoning(database, fake):
        await until(lambda: is_quiet(database))
    assert {row["attempts"] for row in await rows(database, "SELECT DISTINCT attempts FROM reasonings")} == {1}


async def has_calls(fake: FakeProvider, count: int) -> bool:
    return len(fake.calls) >= count


async def test_a_job_that_ends_its_process_dies_and_the_others_go_on(database: Database, database_url: str) -> None:
    async with writing(database, AT_ONCE) as writer:
        deadly, *others = [await arrive(writer) for _ in range(4)]
    settings = {"reasoner": "rules", "reasoner_max_attempts": 2}
    for _ in range(2):
        async with process("run", database_url, settings=settings, deadly=deadly.trace_id.hex()) as dying:
            assert await asyncio.wait_for(dying.wait(), 20) == 9
        await bring_back(database)
        options = WorkerOptions(settle_ms=0, poll_ms=50, sweep_ms=50, max_attempts=2)
        async with working(database, None, options):  # settles and sweeps, explains nothing
            pass
        async with database.connection() as conn, conn.transaction():
            await queue.sweep_lost(conn, most_attempts=2)
        await bring_back(database)
    found = await rows(
        database, "SELECT DISTINCT status, error FROM reasoning_ledger WHERE trace_id = $1", deadly.trace_id
    )
    assert [tuple(row.values()) for row in found] == [("failed", WORKER_LOST)]
    async with working(database, RULES):
        await until(lambda: is_quiet(database))
    for key in others:
        assert await statuses(database, key) == ["completed"] * 4


async def test_postgres_restarts_in_the_middle(tmp_path: Path, fake: FakeProvider) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    url = await postgres.start()
    try:
        await migrate(url)
        database = await Database.open(url)
        fake.open.clear()
        async with writing(database, AT_ONCE) as writer:
            key = await arrive(writer)
        async with reasoning(database, fake):
            await asyncio.wait_for(fake.arrived.wait(), 10)
            await postgres.stop()
            fake.open.set()
            assert await postgres.start() == url
            await until(lambda: is_quiet(database), within_s=20)
        assert len(await texts(database, key)) == 4
        assert len(fake.calls) == 1
        assert {row["attempts"] for row in await rows(database, "SELECT attempts FROM reasonings")} == {1}
        await database.close()
    finally:
        await postgres.stop()

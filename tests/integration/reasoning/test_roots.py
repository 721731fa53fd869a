"""Executions that fall quiet before their root came: senders give away what has ended, and a root ends last."""

from typing import Any

import pytest

from collector.model import ExecutionKey
from collector.reasoning.worker import WorkerOptions
from collector.store.database import Database
from collector.store.writer import Writer, WriterOptions
from tests.integration.reasoning.queue import AT_ONCE, ask_again, job, statuses
from tests.integration.reasoning.test_worker import RULES, is_quiet, until, working
from tests.integration.store.writer_rows import batch, execution, root, step, trace, writing

PATIENT = WorkerOptions(settle_ms=60_000, poll_ms=20)
PAST_ITS_LIMIT = WriterOptions(explained_kinds=frozenset({"tool"}), settle_ms=0, settle_limit_ms=0, notify=False)
REMOTE_PARENT, SERVER = 1 << 9, 2


async def arrive_without_root(writer: Writer, **columns: Any) -> ExecutionKey:
    trace_id = trace()
    await writer.write(batch([step(trace_id, kind="tool", **columns), step(trace_id, kind="tool", **columns)]))
    return ExecutionKey(1, trace_id)


async def check_that_it_is_explained(database: Database, key: ExecutionKey) -> None:
    """Itself and its two tools."""
    assert await statuses(database, key) == ["completed"] * 3
    assert (await execution(database, key.trace_id))["status"] != "running"


async def is_put_off(database: Database, key: ExecutionKey) -> bool:
    gate = await job(database, key)
    return gate["status"] == "pending" and gate["due_in_s"] > 60


async def test_it_goes_on_running_until_its_root_comes(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer:
        key = await arrive_without_root(writer)
        async with working(database, RULES, PATIENT):
            await until(lambda: is_put_off(database, key))
            assert (await execution(database, key.trace_id))["status"] == "running"
            assert (await job(database, key))["attempts"] == 0
            assert await statuses(database, key) == ["pending"] * 3
            await writer.write(batch([root(key.trace_id)]))
            await until(lambda: is_quiet(database))
    assert (await execution(database, key.trace_id))["status"] == "ok"
    assert await statuses(database, key) == ["completed"] * 4


@pytest.mark.parametrize("columns", [{"status": "error"}, {"flags": REMOTE_PARENT}, {"span_kind": SERVER}])
async def test_nobody_waits_for_it_after_a_failure_or_for_a_parent_elsewhere(
    database: Database, columns: dict[str, Any]
) -> None:
    async with writing(database, AT_ONCE) as writer, working(database, RULES, PATIENT):
        key = await arrive_without_root(writer, **columns)
        await until(lambda: is_quiet(database))
    await check_that_it_is_explained(database, key)


async def test_nobody_waits_for_it_past_the_limit(database: Database) -> None:
    async with writing(database, PAST_ITS_LIMIT) as writer, working(database, RULES, PATIENT):
        key = await arrive_without_root(writer)
        await until(lambda: is_quiet(database))
    await check_that_it_is_explained(database, key)


async def test_who_asks_need_not_wait_for_it(database: Database) -> None:
    async with writing(database, AT_ONCE) as writer, working(database, RULES, PATIENT):
        key = await arrive_without_root(writer)
        await until(lambda: is_put_off(database, key))
        async with database.connection() as conn:
            await ask_again(conn, key)
        await until(lambda: is_quiet(database))
    await check_that_it_is_explained(database, key)

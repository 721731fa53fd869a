"""What expires goes whole, what does not stays whole, and ingest is not held up by it."""

import asyncio
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from collector.model import StepRow
from collector.store.database import Database
from collector.store.partitions import Busy, find_days, make_day
from collector.store.retention import DAYS_AHEAD, Expired, Retention
from collector.telemetry import Telemetry
from tests.integration.store.writer_rows import batch, record, root, rows, step, trace, writing

DAY_NS = 86_400 * 10**9
OF_AN_EXECUTION = ("executions", "steps", "records", "reasoning_jobs", "reasonings", "step_rollup_parts")


def days_ago_ns(days: float) -> int:
    return time.time_ns() - int(days * DAY_NS)


async def expire(database: Database, days: int = 30) -> Expired:
    return await Retention(database, days, Telemetry()).run_once()


async def make_days(database: Database, *days_ago: int) -> None:
    for days in days_ago:
        await make_day(database, (datetime.now(UTC) - timedelta(days=days)).date())


async def write(database: Database, *steps: StepRow) -> None:
    """Executions with everything that can belong to one."""
    async with writing(database) as writer:
        await writer.write(batch(steps, [record(row.trace_id) for row in steps]))
    for row in steps:
        await rows(
            database,
            "INSERT INTO reasonings (project_id, trace_id, span_id, reasoner, revision, attempts) "
            "VALUES ($1, $2, $3, 'rules', 1, 1)",
            *row[:3],
        )
        await rows(
            database,
            "INSERT INTO step_rollup_parts (project_id, trace_id, revision, parts) VALUES ($1, $2, 1, '[]') "
            "ON CONFLICT DO NOTHING",
            *row[:2],
        )


async def received(database: Database, trace_id: bytes, days_ago: float) -> None:
    """Pretend that the execution came that long ago."""
    await rows(
        database,
        "UPDATE executions SET first_received_at = now() - $2::interval, last_received_at = now() - $2::interval "
        "WHERE trace_id = $1",
        trace_id,
        timedelta(days=days_ago),
    )


async def counts(database: Database, trace_id: bytes) -> dict[str, int]:
    return {
        table: (await rows(database, f"SELECT count(*) FROM {table} WHERE trace_id = $1", trace_id))[0]["count"]
        for table in OF_AN_EXECUTION
    }


async def partitions(database: Database) -> list[date]:
    async with database.connection() as connection:
        return await find_days(connection)


async def today(database: Database) -> date:
    found: date = (await rows(database, "SELECT (now() AT TIME ZONE 'UTC')::date AS today"))[0]["today"]
    return found


async def test_days_are_made_ahead_and_dropped_behind(database: Database) -> None:
    now = await today(database)
    await make_days(database, 33, 31, 30, 29)
    await rows(database, f"DROP TABLE steps_{now + timedelta(days=3):%Y%m%d}")
    done = await expire(database)
    kept = [now - timedelta(days=30), now - timedelta(days=29)]
    ahead = [now + timedelta(days=days) for days in range(-1, DAYS_AHEAD + 1)]
    assert await partitions(database) == kept + ahead
    assert (done.days_dropped, done.days_made, done.is_complete) == (2, 1, True)
    assert await expire(database) == Expired()


async def test_an_execution_goes_with_all_that_belongs_to_it(database: Database) -> None:
    await make_days(database, 32, 31, 30)
    old, spilling, kept = trace(), trace(), trace()
    await write(
        database,
        root(old, start_ns=days_ago_ns(32)),
        root(spilling, start_ns=days_ago_ns(31)),
        step(spilling, start_ns=days_ago_ns(2)),
        root(kept, start_ns=days_ago_ns(29)),
    )
    done = await expire(database)
    assert (done.executions, done.days_dropped) == (2, 2)
    assert set((await counts(database, old)).values()) == {0}
    assert set((await counts(database, spilling)).values()) == {0}
    assert all((await counts(database, kept)).values())


@pytest.mark.parametrize("start_ns", [0, 10**18, 2**63 - 1, time.time_ns() + 3650 * DAY_NS])
async def test_times_outside_of_all_days_expire_by_when_they_were_received(database: Database, start_ns: int) -> None:
    fresh, old = trace(), trace()
    await write(database, root(fresh, start_ns=start_ns), root(old, start_ns=start_ns))
    await received(database, old, 31)
    assert (await expire(database)).executions == 1
    assert all((await counts(database, fresh)).values())
    assert set((await counts(database, old)).values()) == {0}
    assert (await rows(database, "SELECT trace_id FROM steps_default")) == [{"trace_id": fresh}]


async def test_a_project_may_keep_longer_or_shorter_or_for_ever(database: Database) -> None:
    ids = {name: await database.project_id(name) for name in ("short", "ever")}
    await rows(database, "UPDATE projects SET retention_days = 5 WHERE name = 'short'")
    await make_days(database, 40, 10, 3)
    traces = {(name, days): trace() for name in ("default", *ids) for days in (40, 10, 3)}
    await write(
        database,
        *(
            root(one, project_id=ids.get(name, 1), start_ns=days_ago_ns(days))
            for (name, days), one in traces.items()
            if name != "ever"
        ),
    )
    await expire(database)
    found = {name_days for name_days, one in traces.items() if (await counts(database, one))["steps"]}
    assert found == {("default", 10), ("default", 3), ("short", 3)}
    await rows(database, "UPDATE projects SET retention_days = 0 WHERE name = 'ever'")
    await make_days(database, 40)
    await write(database, root(traces["ever", 40], project_id=ids["ever"], start_ns=days_ago_ns(40)))
    assert (await expire(database)).days_dropped == 0
    assert all((await counts(database, traces["ever", 40])).values())


async def test_zero_keeps_for_ever(database: Database) -> None:
    await make_days(database, 400)
    one = trace()
    await write(database, root(one, start_ns=days_ago_ns(400)))
    await received(database, one, 400)
    assert await expire(database, days=0) == Expired()
    assert all((await counts(database, one)).values())


async def test_records_without_steps_and_unused_origins_expire(database: Database) -> None:
    one = trace()
    async with writing(database) as writer:
        await writer.write(batch((), [record(one) for _ in range(3)]))
    await rows(
        database,
        "UPDATE records SET received_at = now() - interval '31 days' WHERE record_id IN "
        "(SELECT record_id FROM records LIMIT 2)",
    )
    await rows(database, "UPDATE origins SET seen_on = CURRENT_DATE - 60")
    done = await expire(database)
    assert (done.records, done.origins) == (2, 1)
    assert len(await rows(database, "SELECT FROM records")) == 1


async def test_strays_move_into_their_day_when_it_is_made(database: Database) -> None:
    day = await today(database) + timedelta(days=DAYS_AHEAD + 2)
    one, start_ns = trace(), time.time_ns() + (DAYS_AHEAD + 2) * DAY_NS
    given = [root(one, start_ns=start_ns), step(one, start_ns=0)]
    await write(database, *given)
    assert await make_day(database, day)
    assert not await make_day(database, day)
    found = await rows(database, "SELECT tableoid::regclass::text AS place, trace_id FROM steps ORDER BY started_at")
    assert [row["place"] for row in found] == ["steps_default", f"steps_{day:%Y%m%d}"]
    async with writing(database) as writer:
        await writer.write(batch(given))
    assert len(await rows(database, "SELECT FROM steps")) == 2


async def test_a_day_in_use_is_dropped_the_next_time(database: Database) -> None:
    await make_days(database, 40)
    async with database.connection() as reader:
        reading = reader.transaction()
        await reading.start()
        await reader.fetch("SELECT count(*) FROM steps")
        began = time.perf_counter()
        done = await expire(database)
        assert time.perf_counter() - began < 5
        assert (done.days_dropped, done.is_complete) == (0, False)
        await reading.rollback()
    assert (await expire(database)).days_dropped == 1


async def test_an_execution_that_is_being_changed_is_left_to_the_next_run(database: Database) -> None:
    await make_days(database, 40)
    one, other = trace(), trace()
    await write(database, root(one, start_ns=days_ago_ns(40)), root(other, start_ns=days_ago_ns(40)))
    async with database.connection() as holder:
        holding = holder.transaction()
        await holding.start()
        await holder.execute("SELECT FROM executions WHERE trace_id = $1 FOR UPDATE", one)
        done = await expire(database)
        assert (done.executions, done.days_dropped, done.is_complete) == (1, 0, False)
        await holding.rollback()
    assert all((await counts(database, one)).values())
    assert (await expire(database)).days_dropped == 1


async def test_a_stray_that_got_new_steps_is_not_expired(database: Database) -> None:
    one = trace()
    await write(database, root(one, start_ns=0))
    await received(database, one, 31)
    async with writing(database) as writer:
        await writer.write(batch([step(one, start_ns=1000)]))
    assert (await expire(database)).executions == 0
    assert (await counts(database, one))["steps"] == 2


async def test_two_at_once_under_load_come_to_the_same_end(database: Database) -> None:
    await make_days(database, *range(28, 40))
    old = [root(trace(), start_ns=days_ago_ns(28 + number % 12)) for number in range(300)]
    late = [step(row.trace_id, start_ns=row.start_ns) for row in old]
    new = [root(trace()) for _ in range(300)]
    async with writing(database) as writer:
        await writer.write(batch(old))

        async def load() -> list[Any]:
            parts = [batch(late[start : start + 30] + new[start : start + 30]) for start in range(0, 300, 30)]
            return [await writer.write(part) for part in parts]

        _, _, refusals = await asyncio.gather(expire(database), expire(database), load())
    assert refusals == [[]] * 10
    await rows(
        database,
        "UPDATE executions SET last_received_at = now() - interval '40 days' WHERE started_at < $1",
        datetime.now(UTC) - timedelta(days=31),
    )
    await expire(database)
    oldest = datetime.combine(await today(database) - timedelta(days=30), datetime.min.time(), UTC)
    left = await rows(database, "SELECT count(*) FROM executions WHERE started_at < $1", oldest)
    assert left == [{"count": 0}]
    assert await rows(database, "SELECT count(*) FROM steps WHERE started_at < $1", oldest) == [{"count": 0}]
    assert len([row for row in new if (await counts(database, row.trace_id))["steps"] == 1]) == 300
    (deadlocks,) = await rows(database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert deadlocks["deadlocks"] == 0


async def test_making_a_day_does_not_wait_long_for_a_lock(database: Database) -> None:
    far = await today(database) + timedelta(days=DAYS_AHEAD + 5)
    async with database.connection() as reader:
        reading = reader.transaction()
        await reading.start()
        await reader.fetch("SELECT count(*) FROM steps_default")
        with pytest.raises(Busy):
            await make_day(database, far)
        async with writing(database) as writer:
            assert await writer.write(batch([root(trace())])) == []
        await reading.rollback()
    assert await make_day(database, far)


async def test_the_loop_runs_at_once_and_stops(database: Database) -> None:
    await make_days(database, 40)
    retention = Retention(database, 30, Telemetry())
    await retention.start()
    oldest = await today(database) - timedelta(days=30)
    while any(day < oldest for day in await partitions(database)):
        await asyncio.sleep(0)
    assert retention.is_healthy
    await retention.stop()
    await retention.stop()
    assert not retention.is_healthy

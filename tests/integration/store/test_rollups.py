"""Rollups: every step counts once, however often its execution settles and however often parts are folded."""

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta

import pytest

from collector.model import ExecutionKey, Step, StepError, Tokens
from collector.store import history
from collector.store.database import Database
from collector.store.figures import step_figures
from collector.store.folding import Folding
from collector.store.history import Histories, StepName
from collector.store.rollups import Settled, bucket_of, fold, parts_of, percentile_ms, record
from collector.store.stats import StatsFilter
from collector.telemetry import Telemetry

PROJECT = 1
KEY = ExecutionKey(PROJECT, b"t" * 16)
SEARCH = StepName("shop", "search", "retriever")


def a_step(
    number: int, ms: float = 10, *, name: str = "search", failed: bool = False, service: str | None = "shop"
) -> Step:
    return Step(
        span_id=number.to_bytes(8, "big"),
        parent_span_id=None,
        name=name,
        kind="retriever",
        span_kind=1,
        status="error" if failed else "unset",
        service=service,
        start_ns=time.time_ns() - 60_000_000_000,
        duration_ns=int(ms * 1e6),
        input=None,
        output=None,
        error=StepError("E", "no") if failed else None,
        model=None,
        provider=None,
        tool=None,
        session_id=None,
        user_id=None,
        tokens=Tokens(input=10, output=2),
        cost_usd=0.5,
        cost_source="sender",
        extra=None,
        warnings=[],
    )


async def settle(database: Database, *settled: Settled) -> None:
    async with database.connection() as conn, conn.transaction():
        await record(conn, settled)


async def fold_once(database: Database, most: int = 500) -> int:
    async with database.connection() as conn, conn.transaction():
        return await fold(conn, most)


async def sums(database: Database) -> tuple[int, int, int, float, int]:
    query = """
        SELECT coalesce(sum(count), 0), coalesce(sum(errors), 0), coalesce(sum(tokens_input), 0),
            coalesce(sum(cost_usd), 0), coalesce(sum((SELECT sum(n) FROM unnest(counts) n)), 0) FROM step_rollups"""
    async with database.connection() as conn:
        count, errors, tokens, cost, counted = await conn.fetchrow(query)
    return int(count), int(errors), int(tokens), float(cost), int(counted)


async def test_settling_twice_counts_once(database: Database) -> None:
    steps = [a_step(1), a_step(2, failed=True)]
    await settle(database, Settled(KEY, 2, steps))
    await settle(database, Settled(KEY, 2, steps))
    assert await fold_once(database) == 1
    assert await sums(database) == (2, 1, 20, 1.0, 2)
    await settle(database, Settled(KEY, 2, steps))
    assert await fold_once(database) == 0
    assert await sums(database) == (2, 1, 20, 1.0, 2)


async def test_late_steps_add_only_themselves(database: Database) -> None:
    steps = [a_step(1), a_step(2)]
    await settle(database, Settled(KEY, 2, steps))
    await fold_once(database)
    await settle(database, Settled(KEY, 3, [*steps, a_step(3, failed=True)]))
    await settle(database, Settled(KEY, 4, [*steps, a_step(3, failed=True), a_step(4)]))
    await fold_once(database)
    assert await sums(database) == (4, 1, 40, 2.0, 4)


async def test_an_older_revision_does_not_replace_a_newer_one(database: Database) -> None:
    await settle(database, Settled(KEY, 3, [a_step(1), a_step(2), a_step(3)]))
    await settle(database, Settled(KEY, 2, [a_step(1), a_step(2)]))
    await fold_once(database)
    assert (await sums(database))[0] == 3


async def test_the_same_revision_read_otherwise_replaces_what_was_folded(database: Database) -> None:
    """As when stored steps are mapped again."""
    await settle(database, Settled(KEY, 2, [a_step(1), a_step(2)]))
    await fold_once(database)
    await settle(database, Settled(KEY, 2, [a_step(1, name="renamed"), a_step(2, failed=True)]))
    await fold_once(database)
    assert await sums(database) == (2, 1, 20, 1.0, 2)
    async with database.connection() as conn:
        rows = await conn.fetch("SELECT name, count, buckets FROM step_rollups ORDER BY name")
    assert [(row["name"], row["count"], len(row["buckets"])) for row in rows] == [("renamed", 1, 1), ("search", 1, 1)]


async def test_settling_between_the_read_and_the_mark_is_not_lost(database: Database) -> None:
    await settle(database, Settled(KEY, 1, [a_step(1)]))
    async with database.connection() as conn:
        folding = conn.transaction()
        await folding.start()
        await fold(conn)
        await folding.rollback()
    await settle(database, Settled(KEY, 2, [a_step(1), a_step(2)]))
    await fold_once(database)
    assert (await sums(database))[0] == 2


async def test_only_one_folds_at_a_time(database: Database) -> None:
    await settle(database, Settled(KEY, 1, [a_step(1)]))
    async with database.connection() as first, first.transaction():
        assert await fold(first) == 1
        assert await fold_once(database) == 0
    assert (await sums(database))[0] == 1


async def test_history_is_close_to_the_exact_percentiles(database: Database) -> None:
    rng = random.Random(7)
    durations = [rng.lognormvariate(3, 0.8) for _ in range(400)]
    for number in range(4):
        some = [a_step(100 * number + n, ms, failed=n % 10 == 0) for n, ms in enumerate(durations[number::4])]
        await settle(database, Settled(ExecutionKey(PROJECT, bytes([number]) * 16), 100, some))
    await Folding(database, Telemetry()).fold_all()
    async with database.connection() as conn:
        past = await history.load(
            conn, PROJECT, [SEARCH, StepName(None, "search", "retriever"), StepName("shop", "x", "db")]
        )
    exact = sorted(durations)
    assert set(past) == {SEARCH}
    assert past[SEARCH].count == 400
    assert past[SEARCH].p50_ms == pytest.approx(exact[199], rel=0.05)
    assert past[SEARCH].p95_ms == pytest.approx(exact[379], rel=0.05)
    assert past[SEARCH].error_rate == pytest.approx(0.1, abs=0.01)


async def test_a_step_without_service_has_a_history_of_its_own(database: Database) -> None:
    await settle(database, Settled(KEY, 1, [a_step(1, service=None), a_step(2)]))
    await fold_once(database)
    async with database.connection() as conn:
        past = await history.load(conn, PROJECT, [StepName(None, "search", "retriever")])
    assert [value.count for value in past.values()] == [1]


async def test_histories_are_read_once_and_again_when_they_are_old(database: Database) -> None:
    await settle(database, Settled(KEY, 1, [a_step(1)]))
    await fold_once(database)
    kept, forgetful = Histories(kept_s=3600), Histories(kept_s=0)
    wanted = [a_step(1), a_step(2, name="never seen")]
    async with database.connection() as conn:
        first = [await one.of(conn, PROJECT, wanted) for one in (kept, forgetful)]
    await settle(database, Settled(KEY, 2, [a_step(1), a_step(2)]))
    await fold_once(database)
    async with database.connection() as conn:
        second = [await one.of(conn, PROJECT, wanted) for one in (kept, forgetful)]
    assert [past[SEARCH].count for past in (*first, *second)] == [1, 1, 1, 2]
    assert all(set(past) == {SEARCH} for past in (*first, *second))


async def test_other_projects_are_not_read(database: Database) -> None:
    await settle(database, Settled(KEY, 1, [a_step(1)]))
    await fold_once(database)
    async with database.connection() as conn:
        assert await history.load(conn, PROJECT + 1, [SEARCH]) == {}


async def test_figures_by_name_most_frequent_first(database: Database) -> None:
    steps = [a_step(n, 10 + n) for n in range(20)] + [a_step(90, 7, name="rare", failed=True, service=None)]
    await settle(database, Settled(KEY, 21, steps))
    await fold_once(database)
    day = timedelta(days=1)
    wanted = StatsFilter(PROJECT, datetime.now(UTC) - day, datetime.now(UTC) + day)
    async with database.connection() as conn:
        found = await step_figures(conn, wanted, None, 10)
        only = await step_figures(conn, wanted._replace(service="shop"), "retriever", 1)
        before = await step_figures(conn, wanted._replace(since=wanted.since - day, until=wanted.since), None, 10)
    assert [(one.name, one.service, one.step_count, one.errors) for one in found] == [
        ("search", "shop", 20, 0),
        ("rare", None, 1, 1),
    ]
    assert found[0].p50_ms == pytest.approx(19, rel=0.05)
    assert (found[0].tokens_input, found[0].tokens_cached, found[0].cost_usd) == (200, None, 10.0)
    assert (only, before) == (found[:1], [])


def test_an_execution_adds_a_bounded_number_of_names() -> None:
    steps = [a_step(n, name=f"GET /users/{n}") for n in range(2_000)] + [a_step(n, name="often") for n in range(50)]
    parts = parts_of(steps)
    assert len(parts) == 500
    assert parts[0].name == "often"


@pytest.mark.parametrize("nanoseconds", [0, 1, 999, 1_500, 10**6, 123_456_789, 10**15, 2**62])
def test_a_bucket_tells_the_duration_within_its_width(nanoseconds: int) -> None:
    told = percentile_ms([(bucket_of(nanoseconds), 1)], 0.5)
    assert told is not None
    if 2_000 < nanoseconds < 4 * 10**15:
        assert told == pytest.approx(nanoseconds / 1e6, rel=0.05)


async def test_the_history_is_read_by_primary_key(database: Database) -> None:
    """Among a hundred thousand rows of other names, no row of theirs is read."""
    fill = """
        INSERT INTO step_rollups
        SELECT 1, 'shop', 'name ' || n, 'retriever', date_trunc('hour', now()), 1, 0, 0, 0, 0, 0, 0, '{8}', '{1}'
        FROM generate_series(1, 100000) n"""
    async with database.connection() as conn:
        await conn.execute(fill)
        await conn.execute("ANALYZE step_rollups")
        plan = await conn.fetch(f"EXPLAIN {history.LOAD}", 1, ["shop"], ["name 5"], ["retriever"], 7)
    text = "\n".join(line[0] for line in plan)
    assert "step_rollups_pkey" in text
    assert "Seq Scan on step_rollups" not in text


async def test_the_loop_folds_by_itself_and_goes_on_after_a_fault(database: Database) -> None:
    telemetry = Telemetry()
    async with database.connection() as conn:
        await conn.execute("ALTER TABLE step_rollups RENAME TO elsewhere")
    await settle(database, Settled(KEY, 1, [a_step(1)]))
    folding = Folding(database, telemetry, every_s=0.01)
    await folding.start()
    try:
        async with asyncio.timeout(20):
            while not telemetry.metrics.errors.labels("rollups")._value.get():
                await asyncio.sleep(0.01)
            async with database.connection() as conn:
                await conn.execute("ALTER TABLE elsewhere RENAME TO step_rollups")
            while (await sums(database))[0] != 1:
                await asyncio.sleep(0.01)
        assert folding.is_healthy
    finally:
        await folding.stop()
        await folding.stop()
    assert not folding.is_healthy

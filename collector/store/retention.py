"""What is too old goes: whole days of steps at once, everything else in small batches.

An execution goes as one with all that belongs to it: when the day it began on does, or, where its time lies outside of
the days that were ever kept (a clock that is wrong, an old file that was imported), that long after it was received.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import NamedTuple

import msgspec

from collector.store.database import Database
from collector.store.loop import Loop
from collector.store.partitions import DAY, Busy, drop_day, find_days, make_day, start_of
from collector.telemetry import Telemetry

DAYS_AHEAD = 7
EVERY_S = 3600.0
AGAIN_S = 30.0
"""After a run that could not do everything."""
BATCH_EXECUTIONS = 500
BATCH_ROWS = 1000
EVER, NEVER = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
ORIGIN_DAYS = DAYS_AHEAD + 2
"""How much longer than its last sight a resource is kept: steps that start in the future outlive it."""

TODAY = "SELECT (now() AT TIME ZONE 'UTC')::date"
# Days that each project keeps; 0: for ever.
PROJECTS = "SELECT id, COALESCE(retention_days, $1) AS days FROM projects ORDER BY id"

# Executions of a project that are too old, in order of start. Index executions_latest.
EXPIRED = """
SELECT started_at, trace_id FROM executions
WHERE project_id = $1 AND (started_at, trace_id) > ($2, $3) AND started_at < $4
    AND (last_received_at < $5 OR (started_at >= $6 AND started_at < $5))
ORDER BY started_at, trace_id LIMIT $7
"""
# One execution, first and in key order, as ingest does; not one that somebody changes right now, or just has.
LOCK = """
SELECT trace_id, started_at, ended_at FROM executions WHERE project_id = $1 AND trace_id = $2
    AND (last_received_at < $3 OR (started_at >= $4 AND started_at < $3))
FOR UPDATE SKIP LOCKED
"""
# Its steps, in the partitions of its own time.
DELETE_STEPS = "DELETE FROM steps WHERE project_id = $1 AND trace_id = $2 AND started_at BETWEEN $3 AND $4"
DELETE_REST = tuple(
    f"DELETE FROM {table} t USING unnest($2::bytea[]) AS k (trace_id) "  # noqa: S608 - our tables
    "WHERE t.project_id = $1 AND t.trace_id = k.trace_id"
    for table in ("records", "reasoning_jobs", "reasonings", "step_rollup_parts", "executions")
)
# Log records, most of them of traces without steps. Index records_received.
DELETE_RECORDS = """
DELETE FROM records WHERE (project_id, trace_id, span_id, record_id) IN (
    SELECT project_id, trace_id, span_id, record_id FROM records WHERE project_id = $1 AND received_at < $2 LIMIT $3)
"""
DELETE_ORIGINS = """
DELETE FROM origins WHERE (project_id, origin_id) IN (
    SELECT project_id, origin_id FROM origins WHERE project_id = $1 AND seen_on < $2 LIMIT $3)
"""
# Index step_rollups_hour.
DELETE_ROLLUPS = """
DELETE FROM step_rollups WHERE (project_id, service, name, kind, hour) IN (
    SELECT project_id, service, name, kind, hour FROM step_rollups WHERE project_id = $1 AND hour < $2 LIMIT $3)
"""


class Window(NamedTuple):
    """Days as instants: what has a partition starts at `first`; what starts before `kept` is dropped with its day."""

    first: datetime
    kept: datetime
    end: datetime


class Place(NamedTuple):
    """Where executions are looked for: of a project, begun between two instants."""

    project_id: int
    after: datetime
    end: datetime


class Expired(msgspec.Struct):
    """What one run did."""

    days_made: int = 0
    days_dropped: int = 0
    executions: int = 0
    records: int = 0
    origins: int = 0
    rollups: int = 0
    is_complete: bool = True
    """False where something was in use and is left to the next run."""


class Retention(Loop):
    """Any number of processes may run one: they leave each other's rows alone and come to the same end."""

    def __init__(self, database: Database, retention_days: int, telemetry: Telemetry) -> None:
        super().__init__("retention", telemetry, AGAIN_S)
        self._database = database
        self._retention_days = retention_days

    async def turn(self) -> float:
        done = await self.run_once()
        self._telemetry.log.debug("retention", **msgspec.structs.asdict(done))
        return EVERY_S if done.is_complete else AGAIN_S

    async def run_once(self) -> Expired:
        done = Expired()
        today = await self._today()
        for ahead in range(-1, DAYS_AHEAD + 1):
            done.days_made += await self._day(make_day, today + ahead * DAY, done)
        keeps = await self._keeps()
        days = await self._days()
        window = _window(days, today, keeps.values())
        for project_id, kept_days in keeps.items():
            if kept_days:
                await self._expire(project_id, today - timedelta(days=kept_days), window, done)
        if done.is_complete:
            for day in days:
                if start_of(day) < window.kept:
                    done.days_dropped += await self._day(drop_day, day, done)
        return done

    async def _day(self, change: Callable[[Database, date], Awaitable[bool]], day: date, done: Expired) -> bool:
        try:
            return await change(self._database, day)
        except Busy as error:
            self._telemetry.log.debug("partition_busy", reason=str(error))
            done.is_complete = False
            return False

    async def _expire(self, project_id: int, cutoff: date, window: Window, done: Expired) -> None:
        before = start_of(cutoff)
        # Too early, or so far in the future that no day was ever kept for it.
        for place in (Place(project_id, EVER, before), Place(project_id, window.end, NEVER)):
            await self._expire_executions(place, before, window, done)
        done.records += await self._in_batches(DELETE_RECORDS, project_id, before)
        done.rollups += await self._in_batches(DELETE_ROLLUPS, project_id, before)
        done.origins += await self._in_batches(DELETE_ORIGINS, project_id, cutoff - timedelta(days=ORIGIN_DAYS))

    async def _expire_executions(self, place: Place, before: datetime, window: Window, done: Expired) -> None:
        project_id, after, end = place
        trace_id = b""
        while True:
            began = time.perf_counter()
            async with self._database.connection() as connection:
                found = await connection.fetch(
                    EXPIRED, project_id, after, trace_id, end, before, window.first, BATCH_EXECUTIONS
                )
            if not found:
                return
            after, trace_id = found[-1]
            keys = sorted((project_id, row["trace_id"]) for row in found)
            deleted = await self._database.retrying(partial(self._delete, keys, before, window))
            done.executions += deleted
            done.is_complete &= deleted == len(keys)
            await asyncio.sleep(time.perf_counter() - began)  # half of the time is left to others

    async def _delete(self, keys: Sequence[tuple[int, bytes]], before: datetime, window: Window) -> int:
        project_id = keys[0][0]
        async with self._database.connection() as connection, connection.transaction():
            locked = await connection.fetchmany(LOCK, [(*key, before, window.first) for key in keys])
            if locked:
                # Most have all of their steps in days that are dropped.
                apart = [row for row in locked if row["started_at"] < window.first or row["ended_at"] >= window.kept]
                await connection.executemany(DELETE_STEPS, [(project_id, *row) for row in apart])
                traces = [row["trace_id"] for row in locked]
                for statement in DELETE_REST:
                    await connection.execute(statement, project_id, traces)
            return len(locked)

    async def _in_batches(self, statement: str, project_id: int, before: date) -> int:
        total, deleted = 0, BATCH_ROWS
        while deleted == BATCH_ROWS:
            began = time.perf_counter()
            deleted = await self._database.retrying(partial(self._execute, statement, project_id, before))
            total += deleted
            await asyncio.sleep(time.perf_counter() - began)
        return total

    async def _execute(self, statement: str, project_id: int, before: date) -> int:
        async with self._database.connection() as connection:
            status: str = await connection.execute(statement, project_id, before, BATCH_ROWS)
        return int(status.rsplit(" ", 1)[1])

    async def _today(self) -> date:
        async with self._database.connection() as connection:
            today: date = await connection.fetchval(TODAY)
        return today

    async def _keeps(self) -> dict[int, int]:
        async with self._database.connection() as connection:
            return dict(await connection.fetch(PROJECTS, self._retention_days))

    async def _days(self) -> list[date]:
        async with self._database.connection() as connection:
            return await find_days(connection)


def _window(days: Sequence[date], today: date, keeps: Collection[int]) -> Window:
    """A day is dropped when no project keeps it any longer."""
    first, end = start_of(days[0]), start_of(days[-1] + DAY)
    return Window(first, start_of(today - timedelta(days=max(keeps))) if all(keeps) else first, end)

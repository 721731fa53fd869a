"""The days of `steps`: a partition each, made ahead and dropped behind.

Only short locks: a new day is a table of its own until it is attached (writers of other days go on), a lock that can't
be had soon is given up and asked for again later. Times outside of all days live in the default partition.
"""

import re
from datetime import UTC, date, datetime, timedelta

import asyncpg

from collector.store.database import Database, sqlstate

DAY = timedelta(days=1)
LOCK_LIMIT_MS = 150
LOCK_KEY = 0x58526461  # "XRda"
LOCK_NOT_AVAILABLE = "55P03"
PARTITION = re.compile(r"steps_(\d{4})(\d{2})(\d{2})")

DAYS = """
SELECT c.relname::text AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'steps'::regclass ORDER BY 1
"""
LOCK = "SELECT pg_try_advisory_xact_lock($1)"


class Busy(Exception):
    """A lock could not be had in time; nothing was changed."""


def name_of(day: date) -> str:
    return f"steps_{day:%Y%m%d}"


def start_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


async def find_days(connection: asyncpg.Connection) -> list[date]:
    """The days that have a partition, in order."""
    found = (PARTITION.fullmatch(row["name"]) for row in await connection.fetch(DAYS))
    return [date(*map(int, match.groups())) for match in found if match]


async def make_day(database: Database, day: date) -> bool:
    """Make the day's partition, with the strays of that day that the default partition holds; False where it is there.

    Raises Busy.
    """
    start, end = start_of(day), start_of(day + DAY)
    within = f"started_at >= '{start:%Y-%m-%d}T00:00Z' AND started_at < '{end:%Y-%m-%d}T00:00Z'"
    return await _change(
        database,
        day,
        exists=False,
        statements=(
            f"CREATE TABLE {name_of(day)} (LIKE steps INCLUDING DEFAULTS INCLUDING COMPRESSION INCLUDING STORAGE)",
            f"INSERT INTO {name_of(day)} SELECT * FROM steps_default WHERE {within}",  # noqa: S608 - a day
            f"DELETE FROM steps_default WHERE {within}",  # noqa: S608 - a day
            f"ALTER TABLE steps ATTACH PARTITION {name_of(day)} FOR VALUES FROM ('{start:%Y-%m-%d}T00:00Z') "
            f"TO ('{end:%Y-%m-%d}T00:00Z')",
        ),
    )


async def drop_day(database: Database, day: date) -> bool:
    """Drop the day's partition with all its steps; False where it is gone. Raises Busy."""
    return await _change(database, day, exists=True, statements=(f"DROP TABLE {name_of(day)}",))


async def _change(database: Database, day: date, *, exists: bool, statements: tuple[str, ...]) -> bool:
    """Run the statements in one transaction where the day exists (or does not) under the lock of whoever does this."""
    async with database.connection() as connection:
        try:
            # What is moved out of the default partition must be what is deleted there: one snapshot for both.
            async with connection.transaction(isolation="repeatable_read"):
                if not await connection.fetchval(LOCK, LOCK_KEY):
                    raise Busy(f"Another process changes the partitions of {day}.")
                if (day in await find_days(connection)) is not exists:
                    return False
                await connection.execute(f"SET LOCAL lock_timeout = {LOCK_LIMIT_MS}")
                for statement in statements:
                    await connection.execute(statement)
        except asyncpg.PostgresError as error:
            # 23514: a stray of that day came meanwhile.
            if sqlstate(error) in (LOCK_NOT_AVAILABLE, "40001", "40P01", "23514"):
                raise Busy(f"The partition of {day} is in use.") from error
            raise
    return True

"""Bring a database to the newest schema: once, however many processes start at the same time."""

import asyncio
import random
from pathlib import Path

import asyncpg
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from collector.errors import Misconfigured
from collector.store.database import Target, classify, first_connection, hang_up, sqlstate

MIGRATIONS = Path(__file__).with_name("migrations")
GUARD_KEY = 0x58526179  # "XRay"
GUARD_LIMIT_S = 600.0
# Short, so that a migration that waits for a long query does not stop everyone behind it; then it tries again.
TABLE_LOCK_LIMIT = "2s"
TABLE_LOCK_TRIES = 60
LOCK_NOT_AVAILABLE = "55P03"
REFUSALS = {
    "42501": "the user of XRAY_DATABASE_URL may not create tables. Run GRANT CREATE ON SCHEMA public TO that user, "
    "or run `xray migrate` as the owner and start with --no-migrate.",
    "25006": "the server takes no writes (a standby). Name the primary in XRAY_DATABASE_URL.",
}
STATEMENT_LIMIT_S = 3600.0


def newest_revision() -> str:
    """The number of the last file in `migrations/versions`, without importing any."""
    return max(known_revisions())


def known_revisions() -> set[str]:
    return {file.name[:4] for file in (MIGRATIONS / "versions").glob("[0-9]*.py")}


async def schema_revision(url: str) -> str | None:
    """The revision that the database is at; None before its first migration."""
    connection = await first_connection(_target(url))
    try:
        return await _read_revision(connection)
    finally:
        await hang_up(connection)


async def expect_current(url: str) -> None:
    """For a start that must not migrate: raises Misconfigured where the schema is missing or too old."""
    revision = await schema_revision(url)
    if revision is None or revision < newest_revision():
        raise Misconfigured(
            f"The database's schema is {f'at {revision}' if revision else 'missing'}, this program needs "
            f"{newest_revision()}. Run `xray migrate`, or start without --no-migrate."
        )


async def migrate(url: str) -> None:
    """Apply what is missing; a database that is current (or newer than this program) costs one query.

    Raises Misconfigured when the server can't be used, or a lock that is needed can't be had.
    """
    target = _target(url)
    guard = await first_connection(target)
    try:
        deadline = asyncio.get_running_loop().time() + GUARD_LIMIT_S
        while not await _is_current(guard):
            if await _upgrade_alone(guard, target):
                return
            if asyncio.get_running_loop().time() > deadline:
                raise Misconfigured(
                    f"Another process has been migrating this database for {GUARD_LIMIT_S:.0f} s. "
                    "Wait until it is done, or end it, then start again."
                )
            await asyncio.sleep(random.uniform(0.05, 0.2))  # noqa: S311 - spreads the tries
    finally:
        await hang_up(guard)


async def is_current(url: str) -> bool:
    """Whether nothing is missing in the schema."""
    connection = await first_connection(_target(url))
    try:
        return await _is_current(connection)
    finally:
        await hang_up(connection)


def _target(url: str) -> Target:
    return Target(url, prepares=False)  # nothing here runs twice


async def _upgrade_alone(guard: asyncpg.Connection, target: Target) -> bool:
    """Upgrade under the lock; False when another process has it.

    Asks and leaves instead of waiting inside of the server: there, a waiting statement would itself keep the
    holder's CREATE INDEX CONCURRENTLY from ending. The lock is a transaction's, so that it holds through a pooler.
    """
    async with guard.transaction():
        if not await guard.fetchval("SELECT pg_try_advisory_xact_lock($1)", GUARD_KEY):
            return False
        if not await _is_current(guard):
            # The last statement here: asyncpg leaves a read of one value open, and its snapshot would keep a
            # CREATE INDEX CONCURRENTLY from ending.
            await guard.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            await _upgrade(target)
        return True


async def _is_current(connection: asyncpg.Connection) -> bool:
    revision = await _read_revision(connection)
    # A revision that is not known belongs to a newer release, whose schema serves this one, too.
    return revision is not None and (revision == newest_revision() or revision not in known_revisions())


async def _read_revision(connection: asyncpg.Connection) -> str | None:
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return revision


async def _upgrade(target: Target) -> None:
    for _ in range(TABLE_LOCK_TRIES):
        try:
            return await _upgrade_once(target)
        except DBAPIError as error:
            state = sqlstate(error)
            if state in REFUSALS:
                raise Misconfigured(f"The schema can't be brought up to date: {REFUSALS[state]}") from error
            if state != LOCK_NOT_AVAILABLE:
                raise classify(error) from error
        await asyncio.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - spreads the tries
    raise Misconfigured(
        "The schema can't be brought up to date: a long transaction holds a table that has to change. "
        "End it (see pg_stat_activity), then run `xray migrate`."
    )


async def _upgrade_once(target: Target) -> None:
    async def connect() -> asyncpg.Connection:
        return await target.connect(command_timeout=STATEMENT_LIMIT_S)

    engine = create_async_engine(
        "postgresql+asyncpg://",
        connect_args={
            "async_creator_fn": connect,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": str,
        },
        poolclass=NullPool,
    )
    event.listen(engine.sync_engine, "begin", _limit_waiting)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run_alembic)
            await connection.commit()
    finally:
        await engine.dispose()


def _limit_waiting(connection: Connection) -> None:
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{TABLE_LOCK_LIMIT}'")
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")


def _run_alembic(connection: Connection) -> None:
    # Imported only here: a current schema must not pay for it.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")

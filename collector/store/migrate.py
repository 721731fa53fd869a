"""Bring a database to the newest schema: once, however many processes start at the same time."""

import asyncio
import random
from pathlib import Path

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from collector.errors import Misconfigured
from collector.store.database import Target, sqlstate

MIGRATIONS = Path(__file__).with_name("migrations")
LOCK = 0x58526179  # "XRay"
LOCK_WAIT_LIMIT_S = 600.0
# Short, so that a migration that waits for a long query does not stop everyone behind it; then it tries again.
TABLE_LOCK_LIMIT = "2s"
TABLE_LOCK_TRIES = 60
LOCK_NOT_AVAILABLE = "55P03"
STATEMENT_LIMIT_S = 3600.0

READ_REVISION = "SELECT version_num FROM alembic_version"


def newest_revision() -> str:
    """The number of the last file in `migrations/versions`, without importing any."""
    return max(known_revisions())


def known_revisions() -> set[str]:
    return {file.name[:4] for file in (MIGRATIONS / "versions").glob("[0-9]*.py")}


async def schema_revision(url: str) -> str | None:
    """The revision that the database is at; None before its first migration."""
    connection = await Target.of(url).connect()
    try:
        return await _read_revision(connection)
    finally:
        await connection.close()


async def migrate(url: str) -> None:
    """Apply what is missing; a database that is current (or newer than this program) costs one query.

    Raises Misconfigured when a lock that is needed can't be had.
    """
    target = Target.of(url)
    guard = await target.connect()
    try:
        if await _is_current(guard) or not await _lock(guard):
            return
        await _upgrade(target)
    finally:
        await guard.close()  # frees the lock


async def _lock(guard: asyncpg.Connection) -> bool:
    """Take the lock, or see another process finish the work: then False.

    Asks again and again instead of waiting inside of the server, where a waiting statement would itself keep
    the holder's CREATE INDEX CONCURRENTLY from ending.
    """
    deadline = asyncio.get_running_loop().time() + LOCK_WAIT_LIMIT_S
    while not await guard.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
        if await _is_current(guard):
            return False
        if asyncio.get_running_loop().time() > deadline:
            raise Misconfigured(
                f"Another process has been migrating this database for {LOCK_WAIT_LIMIT_S:.0f} s. "
                "Wait until it is done, or end it, then start again."
            )
        await asyncio.sleep(random.uniform(0.05, 0.2))  # noqa: S311 - spreads the tries
    return not await _is_current(guard)


async def _is_current(connection: asyncpg.Connection) -> bool:
    revision = await _read_revision(connection)
    # A revision that is not known belongs to a newer release, whose schema serves this one, too.
    return revision is not None and (revision == newest_revision() or revision not in known_revisions())


async def _read_revision(connection: asyncpg.Connection) -> str | None:
    try:
        revision: str | None = await connection.fetchval(READ_REVISION)
    except asyncpg.UndefinedTableError:
        return None
    return revision


async def _upgrade(target: Target) -> None:
    for _ in range(TABLE_LOCK_TRIES):
        try:
            return await _upgrade_once(target)
        except DBAPIError as error:
            if sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
        await asyncio.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - spreads the tries
    raise Misconfigured(
        "The schema can't be brought up to date: a long transaction holds a table that has to change. "
        "End it (see pg_stat_activity), then run `xray migrate`."
    )


async def _upgrade_once(target: Target) -> None:
    async def connect() -> asyncpg.Connection:
        return await target.connect(command_timeout=STATEMENT_LIMIT_S)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.exec_driver_sql(f"SET lock_timeout = '{TABLE_LOCK_LIMIT}'")
            await connection.commit()
            await connection.run_sync(_run_alembic)
            await connection.commit()
    finally:
        await engine.dispose()


def _run_alembic(connection: Connection) -> None:
    # Imported only here: a current schema must not pay for it.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")

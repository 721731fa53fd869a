"""The way to Postgres: one pool for composed and for raw SQL, dedicated connections, and what its errors mean."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

import asyncpg
import msgspec
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from collector.errors import Misconfigured, Rejected, Unavailable

Result = TypeVar("Result")

OLDEST_MAJOR = 14
CONNECT_LIMIT_S = 10.0
COMMAND_LIMIT_S = 60.0
CLOSE_LIMIT_S = 5.0
POOL_LIMIT_S = 10.0
STARTING_LIMIT_S = 30.0
"""How long a server that says "starting up" is waited for."""
MOST_TRIES = 8
PROJECTS_KEPT = 10_000

# Classes of SQLSTATE: connection lost, no room (disk, memory, connections), ended by an operator, system fault.
LOST_CLASSES = ("08", "53", "57", "58")
# A server that became a standby takes no writes until the next connection finds the new primary.
READ_ONLY = "25006"
AGAIN = ("40001", "40P01")
MISUSES = (asyncpg.UnsupportedClientFeatureError, asyncpg.UnsupportedServerFeatureError)
# A connection that was open while a migration changed a table knows better the next time.
OUTDATED = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)

FIND_PROJECT = "SELECT id FROM projects WHERE name = $1"
MAKE_PROJECT = "INSERT INTO projects (name) VALUES ($1) ON CONFLICT (name) DO NOTHING RETURNING id"
COUNT_PROJECTS = "SELECT count(*) FROM projects"


class Target(msgspec.Struct, frozen=True):
    """Where to connect, and whether prepared statements last (behind a pooler in transaction mode they don't)."""

    url: str
    prepares: bool = True

    async def connect(self, **options: Any) -> asyncpg.Connection:
        """A new connection; `json` goes in and out as the text it is, which is asyncpg's own way with it."""
        settings: dict[str, Any] = {"timeout": CONNECT_LIMIT_S, "command_timeout": COMMAND_LIMIT_S, **options}
        if not self.prepares:
            settings["statement_cache_size"] = 0
        # A pooler refuses other settings than these here.
        return await asyncpg.connect(
            self.url, server_settings={"application_name": "xray", "timezone": "UTC"}, **settings
        )


class Database:
    """One Postgres, opened once a process."""

    def __init__(self, target: Target, engine: AsyncEngine) -> None:
        self._target = target
        self._projects: dict[str, int] = {}
        self.engine = engine
        self.most_projects: int | None = None
        """So many projects may be made by naming them."""

    @classmethod
    async def open(cls, url: str, pool_size: int = 10) -> Self:
        """Check that the server can be used, then open the pool.

        Raises Misconfigured where it can't be reached, refuses us, or is too old.
        """
        target = await _learned(Target(url, prepares=False))
        return cls(target, _make_engine(target, pool_size))

    async def close(self) -> None:
        """Close the pool; a server that does not answer is not waited for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await self.engine.dispose()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction for composed SQL; commits at the end, raises Unavailable when the server is lost."""
        with _lost_is_unavailable():
            async with self.engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A pooled raw connection, for named SQL; the caller opens its transactions."""
        with _lost_is_unavailable():
            async with self.engine.connect() as pooled:
                proxied = await pooled.get_raw_connection()
                raw: asyncpg.Connection = proxied.driver_connection
                try:
                    yield raw
                finally:
                    if raw.is_in_transaction():  # nobody may inherit half a transaction
                        await pooled.invalidate()

    async def connect(self) -> asyncpg.Connection:
        """A connection of the caller's own (writer, LISTEN); the caller closes it."""
        with _lost_is_unavailable():
            return await self._target.connect()

    async def retrying(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Run a whole transaction, again from its start where the server asks for that (40001, 40P01)."""
        for attempt in range(MOST_TRIES):
            try:
                return await work()
            except (asyncpg.PostgresError, DBAPIError) as error:
                if sqlstate(error) not in AGAIN:
                    raise
            await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - spreads the tries
        raise Unavailable("The database was too contended for this transaction.")

    async def project_id(self, name: str, *, limited: bool = True) -> int:
        """The id of the project, which is made when it is new; never inside of an ingest transaction.

        Raises Rejected for a new one where there are as many as may be, unless `limited` is false.
        """
        known = self._projects.get(name)
        if known is None:
            known = await self._find_or_make(name, self.most_projects if limited else None)
            if len(self._projects) >= PROJECTS_KEPT:
                self._projects.clear()
            self._projects[name] = known
        return known

    async def _find_or_make(self, name: str, most: int | None) -> int:
        async with self.connection() as connection:
            if (found := await connection.fetchval(FIND_PROJECT, name)) is not None:
                return int(found)
            if most is not None and await connection.fetchval(COUNT_PROJECTS) >= most:
                raise Rejected(
                    f"There are {most} projects, so {name[:100]!r} is not made: name one that exists in xray.project, "
                    "or let X-Ray make more by XRAY_MAX_PROJECTS."
                )
            for statement in (MAKE_PROJECT, FIND_PROJECT):
                found = await connection.fetchval(statement, name)
                if found is not None:
                    return int(found)
        raise Unavailable(f"The project {name!r} was removed while it was looked up.")


async def hang_up(connection: asyncpg.Connection) -> None:
    """Close a connection; a server that does not answer is not waited for."""
    with suppress(TimeoutError, ConnectionError):
        await connection.close(timeout=CLOSE_LIMIT_S)


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE of an error of asyncpg or SQLAlchemy, empty where it has none."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    return getattr(origin, "sqlstate", None) or ""


def classify(error: Exception) -> Exception:
    """Unavailable for what passes by itself (a lost or full server), the error itself for everything else."""
    return Unavailable("The database can't be used just now.") if _is_lost(error) else error


def _is_lost(error: BaseException) -> bool:
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or (error.orig is not None and _is_lost(error.orig.__cause__ or error.orig))
    if isinstance(error, OUTDATED):
        return True
    if isinstance(error, asyncpg.InterfaceError):
        # Those that are ValueErrors, too, or name a missing feature are about the call, not the connection.
        return not isinstance(error, (ValueError, *MISUSES))
    if isinstance(error, asyncpg.PostgresError):
        state = sqlstate(error)
        return state.startswith(LOST_CLASSES) or state == READ_ONLY
    return isinstance(error, (OSError, TimeoutError, PoolTimeout))


@contextmanager
def _lost_is_unavailable() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        meaning = classify(error)
        if meaning is error:
            raise
        raise meaning from error


def _make_engine(target: Target, pool_size: int) -> AsyncEngine:
    caching = {} if target.prepares else {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}
    engine = create_async_engine(
        "postgresql+asyncpg://",
        connect_args={"async_creator_fn": target.connect, **caching},
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_LIMIT_S,
        pool_use_lifo=True,
    )
    # The dialect would look the json types up on each new connection, to decode what asyncpg gives as text already.
    for codec in ("setup_asyncpg_json_codec", "setup_asyncpg_jsonb_codec"):
        setattr(engine.dialect, codec, _leave_as_text)
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


async def _leave_as_text(_: object) -> None:
    return


def _refuse_closed(adapted: Any, *_: object) -> None:
    """Make the pool connect anew after the server went away; asks no server, so it costs nothing."""
    if adapted.driver_connection.is_closed():
        raise InvalidatePoolError


async def first_connection(target: Target) -> asyncpg.Connection:
    """The connection that a start begins with: a server that is still starting is waited for.

    Raises Misconfigured where the server can't be reached, refuses us, or is too old.
    """
    connection = await _reach(target)
    major = connection.get_server_version().major
    if major < OLDEST_MAJOR:
        await hang_up(connection)
        raise Misconfigured(
            f"The Postgres at {_place(target)} is version {major}; X-Ray needs {OLDEST_MAJOR} or newer. Upgrade it, "
            "name another one in XRAY_DATABASE_URL, or unset that to use the embedded Postgres."
        )
    return connection


async def _reach(target: Target) -> asyncpg.Connection:
    deadline = asyncio.get_running_loop().time() + STARTING_LIMIT_S
    while True:
        try:
            return await target.connect()
        except asyncpg.CannotConnectNowError as error:
            if asyncio.get_running_loop().time() > deadline:
                raise Misconfigured(_refusal(error, target)) from error
        except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise Misconfigured(_refusal(error, target)) from error
        await asyncio.sleep(0.2)


async def _learned(target: Target) -> Target:
    """The target, with what its server tells about prepared statements."""
    connection = await first_connection(target)
    try:
        # A pooler (PgBouncer, RDS Proxy) tells a process id of its own.
        direct = connection.get_server_pid() == await connection.fetchval("SELECT pg_backend_pid()")
    finally:
        await hang_up(connection)
    return Target(target.url, prepares=direct)


def _refusal(error: Exception, target: Target) -> str:
    place = _place(target)
    match error:
        case asyncpg.InvalidAuthorizationSpecificationError():
            return (
                f"The Postgres at {place} refuses the login: {error}. Correct user and password in XRAY_DATABASE_URL."
            )
        case asyncpg.InvalidCatalogNameError():
            return f"The Postgres at {place} says: {error}. Create it (createdb), or correct XRAY_DATABASE_URL."
        case asyncpg.CannotConnectNowError():
            return (
                f"The Postgres at {place} is still starting after {STARTING_LIMIT_S:.0f} s ({error}). Try again later."
            )
        case OSError():
            return (
                f"No Postgres can be reached at {place} ({_reason(error)}). Start it, correct XRAY_DATABASE_URL, "
                "or unset that to use the embedded Postgres."
            )
        case ValueError():
            return f"XRAY_DATABASE_URL can't be read ({error}). It looks like postgresql://user:password@host:5432/database."
        case _:
            return f"The Postgres at {place} can't be used: {error}. Correct that, or XRAY_DATABASE_URL."


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _place(target: Target) -> str:
    """Host and database, without user and password."""
    parts = urlsplit(target.url)
    host = parts.netloc.rpartition("@")[2] or dict(parse_qsl(parts.query)).get("host", "localhost")
    return f"{host}{parts.path}"

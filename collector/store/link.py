"""One dedicated connection that stores groups of rows: COPY first, more careful ways where that fails."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import asyncpg
import msgspec

from collector.errors import Unavailable
from collector.model import ExecutionKey, OriginRow, RecordRow, StepRow
from collector.store import copying
from collector.store.conflict import bisect, fault_of
from collector.store.database import Database
from collector.store.merge import Merge, Policy, in_key_order, internal_origins, summarise

Row: TypeAlias = StepRow | RecordRow

TRANSACTION_LIMIT_S = 30.0
CLOSE_LIMIT_S = 1.0
MOST_TRIES = 8
CAREFUL_GROUPS = 4
"""Groups without a duplicate after which none are expected: a COPY in vain costs more than to look a few times."""
ORIGINS_KEPT = 20_000


class Group(msgspec.Struct):
    """Rows of several requests that are stored together."""

    steps: list[StepRow]
    records: list[RecordRow]
    origins: dict[tuple[int, bytes], OriginRow]


class Stored(msgspec.Struct):
    """What became of a group."""

    steps: int = 0
    """New ones; the others were stored before."""
    records: int = 0
    duplicate_steps: int = 0
    duplicate_records: int = 0
    executions: list[ExecutionKey] = []
    armed: bool = False
    """True where a gate was armed: the workers may be told."""
    culprits: list[tuple[Row, Exception]] = []
    """Rows that the database refuses for good."""


class Memory(msgspec.Struct):
    """What the links of a writer learn, for each other."""

    careful_groups: int = 0
    """How many groups are looked through for what is stored already before a COPY."""
    origins: dict[tuple[int, bytes], int] = {}
    """The hour in which each resource and scope was stored or renewed last."""

    def note_duplicates(self, count: int) -> None:
        self.careful_groups = CAREFUL_GROUPS if count else max(0, self.careful_groups - 1)

    def note_origins(self, origins: Iterable[OriginRow], hour: int) -> None:
        if len(self.origins) > ORIGINS_KEPT:
            self.origins.clear()
        self.origins.update((_origin_key(origin), hour) for origin in origins)


class Link:
    """A connection of the writer. Not connected at first, nor after a loss."""

    def __init__(self, database: Database, policy: Policy, quiet: copying.Quiet, memory: Memory) -> None:
        self.on_loss: Callable[[], None] = lambda: None
        """Called when the connection ends for whatever reason."""
        self._database = database
        self._policy = policy
        self._quiet = quiet
        self._memory = memory
        self._connection: asyncpg.Connection | None = None

    @property
    def is_connected(self) -> bool:
        return self._connection is not None and not self._connection.is_closed()

    async def connect(self) -> None:
        """Connect and prepare; raises Unavailable, whatever the reason is: any of them may pass."""
        await self.close()
        try:
            connection = await self._database.connect()
            try:
                await copying.prepare(connection)
            except BaseException:
                connection.terminate()
                raise
        except Exception as error:
            raise Unavailable("The database can't be used just now.") from error
        connection.add_termination_listener(lambda _: self.on_loss())
        self._connection = connection

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None or connection.is_closed():
            return
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await connection.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()

    def drop(self) -> None:
        """Give the connection up without a word to the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def store(self, group: Group) -> Stored:
        """Store the group in one transaction (several, where a row is bad), and return when it is committed."""
        stored = Stored()
        group = await self._keep_origins(group, stored)
        in_key_order(group.steps)
        group.records.sort(key=_record_key)
        internal = internal_origins(group.origins.values())
        if group.steps or group.records:
            await self._store_rows(group, internal, stored)
        return stored

    async def _store_rows(self, group: Group, internal: frozenset[bytes], stored: Stored) -> None:
        """COPY what is thought to be new; else COPY what is not known; else let the server choose row by row."""
        for careful in (True,) if self._memory.careful_groups else (False, True):
            if careful:
                await self._leave_out_known(group, stored)
            if await self._copy(group, internal, stored):
                break
        else:
            await self._insert_all(group, internal, stored)
        self._memory.note_duplicates(stored.duplicate_steps + stored.duplicate_records + len(stored.culprits))

    async def _leave_out_known(self, group: Group, stored: Stored) -> None:
        steps, records = len(group.steps), len(group.records)
        try:
            async with asyncio.timeout(TRANSACTION_LIMIT_S):
                group.steps = await copying.unknown_steps(self._opened(), group.steps)
                group.records = await copying.unknown_records(self._opened(), group.records)
        except Exception as error:
            if fault_of(error) != "data":  # a key that can't even be asked for: the sure way finds it
                raise
        stored.duplicate_steps += steps - len(group.steps)
        stored.duplicate_records += records - len(group.records)

    async def _insert_all(self, group: Group, internal: frozenset[bytes], stored: Stored) -> None:
        async def insert(rows: Sequence[Row]) -> None:
            await self._insert_again(rows, internal, stored)

        rows: list[Row] = [*group.steps, *group.records]
        try:
            await insert(rows)
        except Exception as error:
            if fault_of(error) != "data":
                raise
            stored.culprits += await bisect(rows, insert, error)

    async def _copy(self, group: Group, internal: frozenset[bytes], stored: Stored) -> bool:
        """The fast way, which proves that every row is new; False where it failed for whatever the rows are."""
        if not group.steps and not group.records:
            return True
        try:
            summary = summarise(group.steps, group.records, self._policy, internal)
            async with self._transaction() as connection:
                await copying.copy_rows(connection, group.steps, group.records, summary.jobs)
                merges = await copying.merge_executions(connection, summary)
                armed = await copying.arm_gates(connection, merges, self._quiet)
        except Exception as error:
            if fault_of(error) == "lost":
                raise
            return False
        _count(stored, group.steps, group.records, merges)
        stored.armed |= armed
        return True

    async def _insert_again(self, rows: Sequence[Row], internal: frozenset[bytes], stored: Stored) -> None:
        for attempt in range(MOST_TRIES):
            try:
                return await self._insert(rows, internal, stored)
            except Exception as error:
                if fault_of(error) != "again":
                    raise
            await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - spreads the tries
        raise Unavailable("The database was too contended for these spans.")

    async def _insert(self, rows: Sequence[Row], internal: frozenset[bytes], stored: Stored) -> None:
        """The sure way: rows that are there stay as they are, and only new ones count."""
        steps = [row for row in rows if isinstance(row, StepRow)]
        records = [row for row in rows if isinstance(row, RecordRow)]
        armed = False
        merges: list[Merge] = []
        async with self._transaction() as connection:
            new_steps = await copying.insert_new_steps(connection, steps)
            new_records = await copying.insert_new_records(connection, records)
            summary = summarise(new_steps, new_records, self._policy, internal)
            if summary.merges:
                await copying.insert_jobs(connection, summary.jobs)
                merges = await copying.merge_executions(connection, summary)
                armed = await copying.arm_gates(connection, merges, self._quiet)
        _count(stored, new_steps, new_records, merges)
        stored.duplicate_steps += len(steps) - len(new_steps)
        stored.duplicate_records += len(records) - len(new_records)
        stored.armed |= armed

    def _opened(self) -> asyncpg.Connection:
        if self._connection is None:
            raise Unavailable("The database can't be used just now.")
        return self._connection

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[asyncpg.Connection]:
        connection = self._opened()
        async with asyncio.timeout(TRANSACTION_LIMIT_S):
            await connection.execute(copying.BEGIN)
            try:
                yield connection
                status = await connection.execute("COMMIT")
            except Exception:
                with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await connection.execute("ROLLBACK")
                raise
        if status != "COMMIT":
            raise Unavailable("The database rolled a transaction back.")

    async def _keep_origins(self, group: Group, stored: Stored) -> Group:
        """Store the resources and scopes not seen this hour, before the transaction and outside of it."""
        hour = int(asyncio.get_running_loop().time() // 3600)
        known = self._memory.origins
        fresh = sorted((origin for key, origin in group.origins.items() if known.get(key) != hour), key=_origin_key)
        if not fresh:
            return group
        bad = {_origin_key(origin): error for origin, error in await self._insert_origins(fresh)}
        self._memory.note_origins((origin for origin in fresh if _origin_key(origin) not in bad), hour)
        return _without(group, bad, stored) if bad else group

    async def _insert_origins(self, origins: Sequence[OriginRow]) -> list[tuple[OriginRow, Exception]]:
        async def insert(some: Sequence[OriginRow]) -> None:
            async with asyncio.timeout(TRANSACTION_LIMIT_S):
                await copying.keep_origins(self._opened(), some)

        try:
            await insert(origins)
        except Exception as error:
            if fault_of(error) != "data":
                raise
            return await bisect(origins, insert, error)
        return []


def _without(group: Group, bad: dict[tuple[int, bytes], Exception], stored: Stored) -> Group:
    """The group without the rows whose resource or scope can't be stored: those are culprits."""

    def good(rows: Iterable[Row]) -> list[Row]:
        kept: list[Row] = []
        for row in rows:
            error = bad.get((row.project_id, row.origin_id))
            if error is None:
                kept.append(row)
            else:
                stored.culprits.append((row, error))
        return kept

    origins = {key: origin for key, origin in group.origins.items() if key not in bad}
    return Group(good(group.steps), good(group.records), origins)  # type: ignore[arg-type]


def _count(stored: Stored, steps: Sequence[StepRow], records: Sequence[RecordRow], merges: Iterable[Merge]) -> None:
    stored.steps += len(steps)
    stored.records += len(records)
    stored.executions += [merge.key for merge in merges]


def _record_key(record: RecordRow) -> tuple[int, bytes, bytes, bytes]:
    return record[:4]


def _origin_key(origin: OriginRow) -> tuple[int, bytes]:
    return origin[:2]

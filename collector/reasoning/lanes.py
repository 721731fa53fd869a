"""What a worker does with what it found due: one way for fast reasoners, two lanes for slow ones."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from uuid import UUID, uuid4

from collector.model import ExecutionKey
from collector.reasoning.keeper import Keeper
from collector.reasoning.outage import outlast
from collector.reasoning.provider import Provider
from collector.reasoning.settlement import Settlement
from collector.reasoning.work import Work, parts
from collector.store.database import Database
from collector.store.jobs import Due, Taken, take

BUSY_REST = 1.5
"""Rest after each batch while ingest is busy, as a multiple of the time that the batch took."""

Look = Callable[[], Awaitable[Sequence[Due]]]
"""Says which executions have due work, the most urgent ones."""


class Lanes:
    """Each lane looks, takes some of what it sees, and says whether there was anything to do."""

    def __init__(self, database: Database, work: Work, settlement: Settlement, keeper: Keeper) -> None:
        self.provider: Provider | None = None
        self.busy: Callable[[], bool] = lambda: False
        self.on_commit: list[Callable[[list[ExecutionKey]], None]] = []
        self.on_settled: Callable[[], None] = lambda: None
        """Called when executions wait for the slow reasoner."""
        self._database = database
        self._work = work
        self._settlement = settlement
        self._keeper = keeper
        self._turn = asyncio.Lock()

    async def explain_batch(self, look: Look) -> bool:
        """All the work of a fast reasoner, for many executions in a few statements."""
        return await self._batch(look, only_settle=False)

    async def settle_batch(self, look: Look) -> bool:
        """Settle executions at once; they wait for the slow reasoner in a lane of their own."""
        found = await self._batch(look, only_settle=True)
        if found:
            self.on_settled()
        return found

    async def _batch(self, look: Look, *, only_settle: bool) -> bool:
        """What was tried before goes alone: were it what kills its worker, it should take nobody along."""
        began = time.monotonic()
        async with self._turn:  # two batches of one process never reach for the same executions
            due = await look()
            takings = await self._take([one.key for one in due if not one.attempts])
        if takings:
            await self._hold(takings, only_settle=only_settle)
        for one in due:
            if one.attempts and (takings := await self._take([one.key])):
                await self._hold(takings, only_settle=only_settle)
        await self._step_aside(time.monotonic() - began)
        return bool(due)

    async def explain_one(self, look: Look) -> bool:
        """One execution at a time, with a place at the provider before it is taken."""
        due = await look()
        if not due:
            return False
        async with self._place() as place:
            if place is None:
                return False
            with self._keeper.holding_slot(place):
                for one in due:
                    if takings := await self._take([one.key]):
                        await self._hold(takings, only_settle=False)
                        break
        return True

    def _place(self) -> AbstractAsyncContextManager[UUID | None]:
        return self.provider.place(self._keeper.lease) if self.provider else nullcontext(uuid4())

    async def _take(self, keys: Sequence[ExecutionKey]) -> list[Taken]:
        if not keys:
            return []
        async with self._database.connection() as conn, conn.transaction():
            return await take(conn, {key: uuid4() for key in keys}, self._keeper.lease)

    async def _hold(self, takings: list[Taken], *, only_settle: bool) -> None:
        """Work under the lease; what is interrupted goes back at once, and costs no attempt."""
        with self._keeper.holding(takings):
            try:
                await self._do(takings, only_settle)
            except asyncio.CancelledError:
                await asyncio.shield(self._settlement.return_jobs(takings))
                raise

    async def _do(self, takings: list[Taken], only_settle: bool) -> None:
        outlines = await outlast(lambda: self._work.look_over(takings))
        ready = await outlast(lambda: self._settlement.put_off(takings, outlines))
        self._keeper.release([taken for taken in takings if taken not in ready])
        for part in parts(ready, outlines):
            outcomes = await outlast(partial(self._work.load, part))
            if not only_settle:
                for outcome in outcomes:
                    await self._work.explain(outcome)
            await self._settlement.write(outcomes, only_settle=only_settle)
            self._keeper.release(part)
            for tell in self.on_commit:
                tell([taken.key for taken in part])

    async def _step_aside(self, took_s: float) -> None:
        """While ingest is busy, leave it most of the time."""
        if self.busy():
            await asyncio.sleep(took_s * BUSY_REST)

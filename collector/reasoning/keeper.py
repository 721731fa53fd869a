"""Keeps leases alive while their work goes on, and ends the work whose lease is lost or whose end is asked for."""

import asyncio
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import msgspec

from collector.errors import LeaseLost, Unavailable
from collector.store.database import Database
from collector.store.jobs import Lease, Taken, beat, stop_cancelled
from collector.store.slots import renew
from collector.telemetry import Telemetry

BEATS_A_LEASE = 4


class Held(msgspec.Struct, eq=False):
    """A taking in work, and the task that works on it."""

    taken: Taken
    task: asyncio.Task[object]
    beaten_at: float
    is_lost: bool = False
    is_cancelled: bool = False

    def end(self) -> None:
        self.task.cancel()


class Keeper:
    """Beats for everything that this process holds, in a task of its own."""

    def __init__(self, database: Database, lease: Lease, telemetry: Telemetry) -> None:
        self._database = database
        self.lease = lease
        self._telemetry = telemetry
        self._held: set[Held] = set()
        self._slots: set[UUID] = set()

    @contextmanager
    def holding(self, takings: Sequence[Taken]) -> Iterator[list[Held]]:
        """Keep these leases alive for the current task.

        When the last of them is lost or is to be cancelled, the task is cancelled, which leaves here as LeaseLost.
        """
        task = asyncio.current_task()
        assert task is not None
        held = [Held(taken, task, time.monotonic()) for taken in takings]
        self._held.update(held)
        before = task.cancelling()
        try:
            yield held
        except asyncio.CancelledError:
            left = self._held.intersection(held)
            ended = bool(left) and all(one.is_lost or one.is_cancelled for one in left)
            if not ended or task.uncancel() > before:
                raise
            raise LeaseLost("Another worker has the job now, or it was cancelled.") from None
        finally:
            self._held.difference_update(held)

    def release(self, takings: Collection[Taken]) -> None:
        """Beat no more for what is written down."""
        tokens = {taken.token for taken in takings}
        self._held = {one for one in self._held if one.taken.token not in tokens}

    @contextmanager
    def holding_slot(self, token: UUID) -> Iterator[None]:
        self._slots.add(token)
        try:
            yield
        finally:
            self._slots.discard(token)

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            await asyncio.sleep(self.lease.duration.total_seconds() / BEATS_A_LEASE)
            if not self._held and not self._slots:
                continue
            try:
                await self._beat()
            except (Unavailable, TimeoutError) as error:
                self._telemetry.errors.report("beat", error)
            self._end_silent()

    async def _beat(self) -> None:
        asked_at, held = time.monotonic(), list(self._held)
        async with asyncio.timeout(self.lease.duration.total_seconds() / 2):
            async with self._database.connection() as conn:
                ours, cancelled = await beat(conn, [one.taken for one in held], self.lease)
                if self._slots:
                    await renew(conn, list(self._slots), self.lease)
                for one in held:
                    if cancelled.get(one.taken.key):
                        await stop_cancelled(conn, one.taken)
        for one in held:
            still = ours.get(one.taken.key, set()) - cancelled.get(one.taken.key, set())
            if still:
                one.beaten_at = asked_at
            elif one in self._held:
                one.is_cancelled = bool(cancelled.get(one.taken.key))
                self._lose(one)

    def _lose(self, one: Held) -> None:
        if one.is_lost:
            return
        one.is_lost = True
        if not one.is_cancelled:
            self._telemetry.metrics.lease_lost.inc()
        if all(other.is_lost for other in self._held if other.task is one.task):
            one.end()

    def _end_silent(self) -> None:
        """What could not be beaten for nearly a whole lease stops before somebody else can take it."""
        limit = time.monotonic() - self.lease.duration.total_seconds() * (1 - 0.5 / BEATS_A_LEASE)
        for one in list(self._held):
            if one.beaten_at < limit:
                self._lose(one)

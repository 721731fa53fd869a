"""The door of a model's provider, which all workers share: who may go in, and when nobody may."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID, uuid4

from collector.store.database import Database
from collector.store.jobs import Lease
from collector.store.slots import close_provider, closed_for, free_slot, make_slots, take_slot

LONGEST_CLOSED_S = 3600.0


class Provider:
    """One provider (an endpoint's address) with a number of places."""

    def __init__(self, database: Database, name: str, places: int) -> None:
        self._database = database
        self._name = name
        self._places = places
        self._is_made = False

    @asynccontextmanager
    async def place(self, lease: Lease) -> AsyncIterator[UUID | None]:
        """A place at the provider under a lease; None where it is closed, or all places are taken."""
        token = uuid4()
        if not await self._enter(token, lease):
            yield None
            return
        try:
            yield token
        finally:
            async with self._database.connection() as conn:
                await free_slot(conn, token)

    async def _enter(self, token: UUID, lease: Lease) -> bool:
        async with self._database.connection() as conn:
            if not self._is_made:
                await make_slots(conn, self._name, self._places)
                self._is_made = True
            if await closed_for(conn, self._name) is not None:
                return False
            return await take_slot(conn, self._name, self._places, token, lease)

    async def close(self, delay_s: float, reason: str) -> None:
        """Nobody asks again before the delay is over, in no process."""
        delay = timedelta(seconds=min(max(delay_s, 0.0), LONGEST_CLOSED_S))
        async with self._database.connection() as conn:
            await close_provider(conn, self._name, delay, reason)

    async def closed(self) -> tuple[float, str] | None:
        """For how many seconds nobody may ask, and why."""
        async with self._database.connection() as conn:
            return await closed_for(conn, self._name)

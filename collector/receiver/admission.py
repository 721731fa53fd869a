"""Bytes in flight: room is taken before a request is parsed, waited for a moment, then refused."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from collector.errors import Overloaded

READ_AHEAD_BYTES = 1 << 20
"""What a request takes while its body is still on its way: its true size is not known before."""


class Admission:
    """A budget of bytes, given out first come, first served.

    A request larger than the whole budget goes in alone. A request that waits holds nothing, so requests that grow
    can't block each other.
    """

    def __init__(
        self, budget_bytes: int, patience_s: float = 4.0, observe: Callable[[int], object] | None = None
    ) -> None:
        self.patience_s = patience_s
        self._budget = budget_bytes
        self._observe = observe
        self._used = 0
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def used_bytes(self) -> int:
        return self._used

    @property
    def waiting(self) -> int:
        return len(self._line)

    @asynccontextmanager
    async def seat(self, size: int) -> AsyncIterator["Seat"]:
        """A seat for the time of the block. Raises Overloaded when there is no room within the patience."""
        seat = Seat(self)
        try:
            await seat.resize(size)
            yield seat
        finally:
            seat.leave()

    async def enter(self, size: int, patience_s: float) -> None:
        """Counts `size` bytes in, after those who wait already."""
        if not self._line and self._fits(size):
            self._change(size)
            return
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (size, room)
        self._line.append(place)
        try:
            async with asyncio.timeout(patience_s):
                await room
        except (TimeoutError, asyncio.CancelledError) as error:
            self._give_up(place)
            if isinstance(error, TimeoutError):
                raise Overloaded("There is no room for more data at the moment; send it again shortly.") from None
            raise

    def exit(self, size: int) -> None:
        """Counts `size` bytes out and lets in who fits now."""
        self._change(-size)
        self._let_in()

    def _fits(self, size: int) -> bool:
        return self._used + size <= self._budget or self._used == 0

    def _change(self, by: int) -> None:
        self._used += by
        if self._observe is not None:
            self._observe(self._used)

    def _let_in(self) -> None:
        while self._line and self._fits(self._line[0][0]):
            size, room = self._line.popleft()
            if not room.done():
                self._change(size)
                room.set_result(None)

    def _give_up(self, place: tuple[int, "asyncio.Future[None]"]) -> None:
        size, room = place
        if room.done() and not room.cancelled():
            self.exit(size)  # it was let in at the very moment it gave up
            return
        if place in self._line:
            self._line.remove(place)
        self._let_in()


class Seat:
    """The bytes that one request holds; all its waits together last no longer than the patience."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._patience_s = admission.patience_s
        self.size = 0

    async def resize(self, size: int) -> None:
        """Holds exactly `size` bytes from now on. Where that means waiting, it holds nothing meanwhile."""
        if size <= self.size:
            self._admission.exit(self.size - size)
            self.size = size
            return
        self.leave()
        clock = asyncio.get_running_loop().time
        began = clock()
        await self._admission.enter(size, max(self._patience_s, 0.0))
        self._patience_s -= clock() - began
        self.size = size

    def leave(self) -> None:
        """Gives everything back; safe twice."""
        held, self.size = self.size, 0
        if held:
            self._admission.exit(held)

    def move(self) -> "Seat":
        """The same bytes under a new owner; this seat is empty afterwards."""
        other = Seat(self._admission)
        other.size, self.size = self.size, 0
        return other

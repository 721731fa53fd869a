"""Who watches: the keys of executions that changed, handed to every open stream of this process.

A stream that is slow keeps at most `MOST_WAITING` keys; an execution that changes many times is told of once.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from collector.errors import Overloaded
from collector.model import ExecutionKey

MOST_WATCHERS = 100
MOST_WAITING = 1000


class Watcher:
    """One open stream: which executions changed since it looked last."""

    def __init__(self) -> None:
        self._changed: dict[ExecutionKey, None] = {}
        self._woken = asyncio.Event()
        self.lost = 0
        self.is_open = True

    def tell(self, keys: Iterable[ExecutionKey]) -> None:
        for key in keys:
            self._changed[key] = None
        while len(self._changed) > MOST_WAITING:
            del self._changed[next(iter(self._changed))]
            self.lost += 1
        self._woken.set()

    def close(self) -> None:
        self.is_open = False
        self._woken.set()

    async def changes(self, within_s: float) -> list[ExecutionKey]:
        """The executions that changed; empty when nothing did for so long, or when the stream must end."""
        try:
            async with asyncio.timeout(within_s):
                await self._woken.wait()
        except TimeoutError:
            return []
        self._woken.clear()
        taken, self._changed = list(self._changed), {}
        return taken


class Hub:
    """The streams of this process; `tell` is called after each commit that changed something."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()
        self.is_closed = False

    def tell(self, keys: Iterable[ExecutionKey]) -> None:
        if not self._watchers:
            return
        keys = list(keys)
        for watcher in self._watchers:
            watcher.tell(keys)

    def check_room(self) -> None:
        """Raises Overloaded where no more streams may be opened."""
        if len(self._watchers) >= MOST_WATCHERS or self.is_closed:
            raise Overloaded(f"There are {len(self._watchers)} open streams: close one, or come back later.")

    @contextmanager
    def watching(self) -> Iterator[Watcher]:
        watcher = Watcher()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def close(self) -> None:
        """End all streams; the server waits for them when it stops."""
        self.is_closed = True
        for watcher in self._watchers:
            watcher.close()

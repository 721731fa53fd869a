"""LISTEN: a hint that there is work. The poll is the truth; nothing is lost while nobody listens."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import asyncpg

from collector.errors import Unavailable
from collector.store.database import Target, classify

CHANNEL = "xray_jobs"
CHECK_S = 10.0
CHECK_LIMIT_S = 5.0
BACK_OFF_LEAST_S, BACK_OFF_MOST_S = 0.2, 30.0
LISTENS = "SELECT $1 IN (SELECT pg_listening_channels())"

Connect = Callable[[], Awaitable[asyncpg.Connection]]


def connects_to(url: str) -> Connect:
    """A direct way to a database, beside a pooler that can't LISTEN."""
    return Target(url, prepares=False).connect


class Listener:
    """One connection of its own, never in a transaction; checked, and replaced when it went silent."""

    def __init__(self, connect: Connect, wake: Callable[[], None], check_s: float = CHECK_S) -> None:
        self._connect = connect
        self._wake = wake
        self._check_s = check_s
        self.connections = 0
        """How many times it has connected."""

    async def run(self, on_error: Callable[[BaseException], None]) -> None:
        """Listen for ever; whoever listens is woken after each new connection, for what it may have missed."""
        pause_s = BACK_OFF_LEAST_S
        while True:
            try:
                await self._listen()
                pause_s = BACK_OFF_LEAST_S
            except Exception as error:  # noqa: BLE001 - the top of a loop: whatever broke the connection, make another
                on_error(classify(error))
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            pause_s = min(pause_s * 2, BACK_OFF_MOST_S)

    async def _listen(self) -> None:
        """Returns when the connection is no longer good after a time when it was."""
        connection = await self._connect()
        ended = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _: ended.set())
            async with asyncio.timeout(CHECK_LIMIT_S):
                await connection.add_listener(CHANNEL, lambda *_: self._wake())
            self.connections += 1
            self._wake()
            await self._watch(connection, ended)
        finally:
            connection.terminate()

    async def _watch(self, connection: asyncpg.Connection, ended: asyncio.Event) -> None:
        while not ended.is_set():
            try:
                async with asyncio.timeout(self._check_s * random.uniform(0.8, 1.2)):  # noqa: S311 - jitter
                    await ended.wait()
            except TimeoutError:
                async with asyncio.timeout(CHECK_LIMIT_S):
                    if not await connection.fetchval(LISTENS, CHANNEL):
                        raise Unavailable("The server forgot that we listen.") from None

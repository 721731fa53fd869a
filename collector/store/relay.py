"""Tells other processes which executions changed, by NOTIFY: for streams where receiving and serving are apart.

A hint and no more: what is lost while a connection is down is seen at the next change or the next reading.
"""

import asyncio
import base64
import random
import struct
from collections.abc import Awaitable, Callable, Iterable
from uuid import uuid4

import asyncpg

from collector.model import ExecutionKey
from collector.store.database import Database, classify
from collector.telemetry import ErrorLog

CHANNEL = "xray_changes"
PAUSE_S = 0.2
"""Changes within this time are told together."""
KEYS_AT_ONCE = 200  # 20 bytes each, in base64, below the 8000 bytes that a notification holds
MOST_WAITING = 5_000
RETRY_S = 2.0
KEY = struct.Struct(">i16s")

Tell = Callable[[Iterable[ExecutionKey]], None]
Connect = Callable[[], Awaitable[asyncpg.Connection]]


class Relay:
    """`announce` after each commit here; `tell` is called with what the others announce."""

    def __init__(self, database: Database, errors: ErrorLog) -> None:
        self._database = database
        self._errors = errors
        self._own_name = uuid4().hex[:8]
        self._changed: dict[ExecutionKey, None] = {}
        self._woken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def announce(self, keys: Iterable[ExecutionKey]) -> None:
        for key in keys:
            if len(self._changed) < MOST_WAITING:
                self._changed[key] = None
        self._woken.set()

    def start(self, tell: Tell | None = None, connect: Connect | None = None) -> None:
        """Announce, and listen where somebody wants to be told; `connect` is a direct way past a pooler."""
        self._tasks = [asyncio.create_task(self._announce())]
        if tell is not None:
            self._tasks.append(asyncio.create_task(self._listen(tell, connect or self._database.connect)))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    @property
    def is_healthy(self) -> bool:
        return not any(task.done() for task in self._tasks)

    async def _announce(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            keys, self._changed = list(self._changed), {}
            try:
                async with self._database.connection() as connection:
                    for first in range(0, len(keys), KEYS_AT_ONCE):
                        payload = encode(self._own_name, keys[first : first + KEYS_AT_ONCE])
                        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)
            except Exception as error:  # noqa: BLE001 - the top of a loop
                self._errors.report("announce", classify(error))
            await asyncio.sleep(PAUSE_S)

    async def _listen(self, tell: Tell, connect: Connect) -> None:
        def on_payload(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            name, keys = decode(str(payload))
            if name != self._own_name:
                tell(keys)

        while True:
            try:
                await _listen_once(await connect(), on_payload)
            except Exception as error:  # noqa: BLE001 - the top of a loop
                self._errors.report("listen", classify(error))
            await asyncio.sleep(RETRY_S * random.uniform(0.8, 1.2))  # noqa: S311 - jitter


async def _listen_once(connection: asyncpg.Connection, on_payload: Callable[..., None]) -> None:
    """Until the connection ends."""
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    try:
        await connection.add_listener(CHANNEL, on_payload)
        await ended.wait()
    finally:
        connection.terminate()


def encode(name: str, keys: Iterable[ExecutionKey]) -> str:
    packed = b"".join(KEY.pack(*key) for key in keys)
    return f"{name} {base64.b64encode(packed).decode()}"


def decode(payload: str) -> tuple[str, list[ExecutionKey]]:
    name, _, packed = payload.partition(" ")
    return name, [ExecutionKey(*key) for key in KEY.iter_unpack(base64.b64decode(packed))]

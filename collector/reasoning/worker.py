"""The worker: loops that look for due executions and have them explained; start, wake, do, settle, stop."""

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from random import random, sample, uniform

import msgspec

from collector.config import Settings
from collector.errors import LeaseLost
from collector.mapping.prices import PriceTable
from collector.model import ExecutionKey
from collector.reasoning.keeper import Keeper
from collector.reasoning.lanes import Lanes, Look
from collector.reasoning.policy import delays
from collector.reasoning.provider import Provider
from collector.reasoning.reasoner import Engine
from collector.reasoning.settlement import Settlement
from collector.reasoning.work import Work
from collector.store.completion import Quiet
from collector.store.database import Database
from collector.store.jobs import SETTLED_OFFSET, Due, Lane, Lease, look
from collector.store.leases import Sweep, reopen, sweep
from collector.store.notify import Listener, connects_to
from collector.store.spending import forget
from collector.telemetry import Telemetry

EVERYTHING = Lane()
UNSETTLED = Lane(0, SETTLED_OFFSET)
SETTLED = Lane(SETTLED_OFFSET)
FAIR_LOOK = 4
"""Every fourth look begins behind the most urgent classes, so that nothing starves."""
CLASSES = (1, 2, 6)
"""Where the lower classes begin: behind URGENT, ASKED, ORDINARY."""
UNTIL_DUE_S = 0.03
ANSWERS_KEPT = timedelta(days=30)
SELDOM = 0.1
"""How often a sweep also does what is hardly ever needed: about once a minute."""

Do = Callable[[Look], Awaitable[bool]]


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    concurrency: int = 4
    """Executions that a slow reasoner explains at once."""
    batch: int = 64
    """Executions that are looked for together."""
    lease_ms: int = 60_000
    max_attempts: int = 5
    settle_ms: int = 2_000
    settle_limit_ms: int = 300_000
    poll_ms: int = 500
    sweep_ms: int = 5_000
    listen: bool = True
    listen_url: str | None = None
    """A direct URL where the database is reached through a pooler."""

    @classmethod
    def of(cls, settings: Settings) -> "WorkerOptions":
        return cls(
            concurrency=settings.reasoner_concurrency,
            lease_ms=settings.reasoner_lease_ms,
            max_attempts=settings.reasoner_max_attempts,
            settle_ms=settings.reasoner_settle_ms,
            settle_limit_ms=settings.reasoner_settle_limit_ms,
            listen_url=settings.listen_database_url,
        )


class Worker:
    """Explains what is due, as one of any number of workers on the same database; with no engine it only settles.

    `busy` says when ingest needs the machine; `on_commit` is called with the executions that a commit changed.
    """

    def __init__(
        self, database: Database, engine: Engine | None, options: WorkerOptions, telemetry: Telemetry | None = None
    ) -> None:
        self._database = database
        self._engine = engine
        self._options = options
        self._telemetry = telemetry or Telemetry()
        quiet = Quiet(timedelta(milliseconds=options.settle_ms), timedelta(milliseconds=options.settle_limit_ms))
        duration = timedelta(milliseconds=options.lease_ms)
        self.lease = Lease(f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}", duration)
        self._work = Work(database, engine, self._telemetry)
        self._settlement = Settlement(database, engine, quiet, options.max_attempts, self._telemetry)
        self._keeper = Keeper(database, self.lease, self._telemetry)
        self._lanes = Lanes(database, self._work, self._settlement, self._keeper)
        self._lanes.on_settled = self.wake
        self._wakes: list[asyncio.Event] = []
        self._plenty = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._helpers: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    @property
    def is_healthy(self) -> bool:
        """False when a loop has died, which must never be."""
        return bool(self._loops) and not any(task.done() for task in (*self._loops, *self._helpers))

    @property
    def on_commit(self) -> list[Callable[[list[ExecutionKey]], None]]:
        return self._lanes.on_commit

    def use(
        self,
        *,
        prices: PriceTable | None = None,
        provider: Provider | None = None,
        busy: Callable[[], bool] | None = None,
    ) -> None:
        """What not every worker has: own prices, a provider's door, a word on how busy ingest is."""
        self._work.prices = prices or self._work.prices
        self._lanes.provider = provider or self._lanes.provider
        self._lanes.busy = busy or self._lanes.busy

    async def start(self) -> None:
        lanes = self._lanes
        if self._engine is not None and self._engine.is_slow:
            loops = [self._loop(UNSETTLED, lanes.settle_batch)]
            loops += [self._loop(SETTLED, lanes.explain_one) for _ in range(self._options.concurrency)]
        else:
            loops = [self._loop(EVERYTHING, lanes.explain_batch), self._help(EVERYTHING, lanes.explain_batch)]
        helpers = [self._keeper.run(), self._sweep()]
        if self._options.listen:
            url = self._options.listen_url
            listener = Listener(connects_to(url) if url else self._database.connect, self._hear)
            helpers.append(listener.run(lambda error: self._telemetry.errors.report("listen", error)))
        self._loops = [asyncio.create_task(loop) for loop in loops]
        self._helpers = [asyncio.create_task(helper) for helper in helpers]

    async def stop(self, grace_s: float = 10.0) -> None:
        """Take nothing more, let what runs finish, give the rest back; safe twice, and without a start."""
        self._stopping.set()
        self.wake()
        self._plenty.set()
        if self._loops:
            await asyncio.wait(self._loops, timeout=grace_s)
        for tasks in (self._loops, self._helpers):
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._loops, self._helpers = [], []
        if self._engine is not None and self._engine.close is not None:
            await self._engine.close()

    def wake(self) -> None:
        """Look now instead of at the next poll."""
        for event in self._wakes:
            event.set()

    def _hear(self) -> None:
        """A hint that something was committed: some of it is due now, the rest after its quiet time."""
        self.wake()
        asyncio.get_running_loop().call_later(self._options.settle_ms / 1000 + UNTIL_DUE_S, self.wake)

    async def _loop(self, lane: Lane, do: Do) -> None:
        """Look, do, and look again at once as long as there is work; else wait for a hint or the poll."""
        event, looks = asyncio.Event(), 0
        self._wakes.append(event)
        while not self._stopping.is_set():
            event.clear()
            looks += 1
            if not await self._try(do, partial(self._look, lane, looks)):
                await self._rest(event)

    async def _help(self, lane: Lane, do: Do) -> None:
        """Where there is plenty, a batch beside the loop's own: one is explained while the other is read or written."""
        while not self._stopping.is_set():
            await self._plenty.wait()
            self._plenty.clear()
            await self._try(do, partial(self._look, lane, 1))

    async def _try(self, do: Do, look: Look) -> bool:
        try:
            return await do(look)
        except LeaseLost as lost:
            self._telemetry.errors.report("lease_lost", lost)
        except Exception as error:  # noqa: BLE001 - the top of a loop: reported, then the next round
            self._telemetry.errors.report("worker", error)
        return False

    async def _rest(self, event: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self._options.poll_ms / 1000 * uniform(0.8, 1.2)):  # noqa: S311 - jitter
                await event.wait()
        except TimeoutError:
            return

    async def _look(self, lane: Lane, looks: int) -> list[Due]:
        async with self._database.connection() as conn:
            if looks % FAIR_LOOK == 0:
                first = lane.first + CLASSES[looks // FAIR_LOOK % len(CLASSES)]
                due = await look(conn, Lane(first, lane.end), self._options.batch)
                if due:
                    return sample(due, len(due))
            due = await look(conn, lane, self._options.batch)
        if len(due) == self._options.batch and not self._lanes.busy():
            self._plenty.set()
        return sample(due, len(due))

    async def _sweep(self) -> None:
        """Bring back what lost workers held."""
        options = self._options
        while True:
            await asyncio.sleep(options.sweep_ms / 1000 * uniform(0.8, 1.2))  # noqa: S311 - jitter
            try:
                async with self._database.connection() as conn, conn.transaction():
                    rule = Sweep(delays(options.max_attempts, random), options.max_attempts)
                    found = await sweep(conn, rule)
                    if random() < SELDOM:  # noqa: S311 - spreads the work
                        found |= await reopen(conn)
                        await forget(conn, ANSWERS_KEPT)
                if found:
                    self.wake()
            except Exception as error:  # noqa: BLE001 - the top of a loop: reported, then the next round
                self._telemetry.errors.report("sweep", error)

"""Group commit: what waits is stored together, and answered when it is committed."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import msgspec

from collector.errors import Overloaded, Unavailable
from collector.model import Batch, ExecutionKey, RecordRow, Refusal, StepRow
from collector.store.conflict import fault_of
from collector.store.copying import Quiet
from collector.store.database import Database
from collector.store.link import Group, Link, Memory, Row, Stored
from collector.store.merge import Policy
from collector.telemetry import Telemetry

BACK_OFF_LEAST_S, BACK_OFF_MOST_S = 0.05, 1.0
NOTIFY_PAUSE_S = 0.1
NOTIFY = "SELECT pg_notify('xray_jobs', '')"
STOPPING = "X-Ray is stopping; send this again."
AWAY = "The database can't be used just now; send this again."
STUCK_AFTER_S = 4.0
"""A database that has not answered for so long counts as away; collectors give up on a call after 5 s."""


class WriterOptions(msgspec.Struct, frozen=True, kw_only=True):
    explained_kinds: frozenset[str] = frozenset()
    """Kinds of steps that get a job, besides steps without a parent and failed ones."""
    explain: bool = True
    """False: executions settle, but no step gets a job."""
    settle_ms: int = 2000
    settle_limit_ms: int = 300_000
    connections: int = 2
    group_steps: int = 8192
    """Steps and records in one transaction."""
    group_bytes: int = 32 << 20
    queue_bytes: int = 128 << 20
    """Bytes of requests that may wait."""
    notify: bool = True


class _Waiting(NamedTuple):
    batch: Batch
    answer: asyncio.Future[list[Refusal]]


class Writer:
    """Stores batches, many in one transaction.

    The contract of `write`:
    - it returns only after COMMIT: steps, records, executions and jobs are durable, all together;
    - it is idempotent: a step is known by project, trace, span id and start time, a record by its content. Of two with
      the same key the first one committed stays, and the second changes nothing: no row, counter or job. (A span id
      that comes again with another start time is another row; readers show one step a span id.);
    - it returns the refusals that only the database could find; the rest of the batch is stored;
    - it raises Unavailable where the batch may not be stored (Postgres is lost, contended or misses something) and
      Overloaded where no more may wait. Some of it may be stored then: sending it again is right and harmless;
    - a caller that is cancelled takes nothing back and disturbs nobody who shares its transaction.
    """

    def __init__(self, database: Database, options: WriterOptions, telemetry: Telemetry | None = None) -> None:
        self.on_commit: list[Callable[[list[ExecutionKey]], None]] = []
        """Called after each commit with the executions it changed; must not block."""
        self.waiting_bytes = 0
        self._database = database
        self._options = options
        self._telemetry = telemetry or Telemetry()
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._open: set[asyncio.Future[list[Refusal]]] = set()
        self._armed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        memory = Memory()
        self._links = [self._make_link(memory) for _ in range(options.connections)]
        self._without_database: set[Link] = set()
        self._asking_since: dict[Link, float] = {}

    def _make_link(self, memory: Memory) -> Link:
        options = self._options
        policy = Policy(options.explained_kinds, options.explain)
        quiet = Quiet(timedelta(milliseconds=options.settle_ms), timedelta(milliseconds=options.settle_limit_ms))
        link = Link(self._database, policy, quiet, memory)
        link.on_loss = self._wake.set
        return link

    @property
    def is_available(self) -> bool:
        """False while Postgres is away: every link tries in vain to connect, or gets no answer."""
        stuck_since = time.monotonic() - STUCK_AFTER_S
        stuck = {link for link, since in self._asking_since.items() if since < stuck_since}
        return len(self._without_database | stuck) < len(self._links)

    @property
    def is_healthy(self) -> bool:
        """False when a loop has died, which must never be."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def start(self) -> None:
        """Connect; where Postgres is away, go on trying and refuse what comes meanwhile."""
        for link in self._links:
            try:
                await link.connect()
            except Unavailable as error:
                self._without_database.add(link)
                self._telemetry.errors.report("writer_connect", error)
        self._tasks = [asyncio.create_task(self._store_groups(link)) for link in self._links]
        if self._options.notify:
            self._tasks.append(asyncio.create_task(self._notify()))

    async def stop(self, grace_s: float = 20.0) -> None:
        """Store what waits, then close; safe twice, and without a start."""
        self._stopping = True
        if self._open and self._tasks:
            await asyncio.wait(self._open, timeout=grace_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._refuse_waiting(STOPPING)
        for link in self._links:
            await link.close()

    async def write(self, batch: Batch) -> list[Refusal]:
        """Store the batch; see the contract of the class."""
        if not batch.steps and not batch.records:
            return []
        if self._stopping or not self._tasks:
            raise Unavailable(STOPPING)
        if not self.is_available:
            raise Unavailable(AWAY)
        if self.waiting_bytes and self.waiting_bytes + batch.size_bytes > self._options.queue_bytes:
            raise Overloaded("Too much waits to be stored; send this again.")
        answer: asyncio.Future[list[Refusal]] = asyncio.get_running_loop().create_future()
        self._open.add(answer)
        answer.add_done_callback(self._open.discard)
        self.waiting_bytes += batch.size_bytes
        self._waiting.append(_Waiting(batch, answer))
        self._wake.set()
        return await answer

    async def _store_groups(self, link: Link) -> None:
        while True:
            if not link.is_connected:
                await self._connect(link)
            group = self._take()
            if not group:
                self._wake.clear()
                await self._wake.wait()
                continue
            try:
                await self._store(link, group)
            except asyncio.CancelledError:
                _refuse(group, STOPPING)
                raise
            except Exception as error:  # noqa: BLE001 - the top of a loop: nobody may wait for an answer for ever
                self._telemetry.errors.report("group_not_stored", error)
                _refuse(group, AWAY)
                if fault_of(error) == "lost":
                    link.drop()
                    continue
            self._asking_since.pop(link)

    async def _connect(self, link: Link) -> None:
        self._asking_since.setdefault(link, time.monotonic())
        pause_s = BACK_OFF_LEAST_S
        while True:
            try:
                await link.connect()
            except Unavailable as error:
                self._telemetry.errors.report("writer_connect", error)
                self._without_database.add(link)
                if not self.is_available:
                    self._refuse_waiting(AWAY)
            else:
                self._asking_since.pop(link)
                return self._without_database.discard(link)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause_s = min(pause_s * 2, BACK_OFF_MOST_S)

    def _take(self) -> list[_Waiting]:
        """Everything that waits, up to the bounds of a group; what its sender gave up is left out."""
        taken: list[_Waiting] = []
        rows = size_bytes = 0
        while self._waiting and rows < self._options.group_steps and size_bytes < self._options.group_bytes:
            item = self._waiting.popleft()
            self.waiting_bytes -= item.batch.size_bytes
            if item.answer.done():
                continue
            taken.append(item)
            rows += _rows(item.batch)
            size_bytes += item.batch.size_bytes
        return taken

    async def _store(self, link: Link, group: list[_Waiting]) -> None:
        self._asking_since[link] = time.monotonic()
        began = time.perf_counter()
        stored = await link.store(_gather(group))
        _answer(group, stored)
        self._tell(stored, time.perf_counter() - began)

    def _tell(self, stored: Stored, seconds: float) -> None:
        metrics = self._telemetry.metrics
        metrics.commit_seconds.observe(seconds)
        if stored.duplicate_steps:
            metrics.spans_duplicate.inc(stored.duplicate_steps)
        if stored.armed:
            self._armed.set()
        if stored.executions:
            for call in self.on_commit:
                call(stored.executions)

    def _refuse_waiting(self, message: str) -> None:
        while self._waiting:
            item = self._waiting.popleft()
            self.waiting_bytes -= item.batch.size_bytes
            _refuse([item], message)

    async def _notify(self) -> None:
        """Tell the workers that there is work: a hint, after the commit, and seldom."""
        while True:
            await self._armed.wait()
            self._armed.clear()
            try:
                async with self._database.connection() as connection:
                    await connection.execute(NOTIFY)
            except Unavailable as error:
                self._telemetry.errors.report("notify", error)
            await asyncio.sleep(NOTIFY_PAUSE_S)


def _rows(batch: Batch) -> int:
    return len(batch.steps) + len(batch.records)


def _gather(group: list[_Waiting]) -> Group:
    gathered = Group([], [], {})
    for batch, _ in group:
        gathered.steps += batch.steps
        gathered.records += batch.records
        gathered.origins.update(batch.origins)
    return gathered


def _answer(group: list[_Waiting], stored: Stored) -> None:
    refusals: dict[int, list[Refusal]] = {}
    if stored.culprits:
        owners = {id(row): number for number, item in enumerate(group) for row in _all_rows(item.batch)}
        for row, error in stored.culprits:
            refusals.setdefault(owners[id(row)], []).append(_refusal(row, error))
    for number, (_, answer) in enumerate(group):
        if not answer.done():
            answer.set_result(refusals.get(number, []))


def _all_rows(batch: Batch) -> list[StepRow | RecordRow]:
    return [*batch.steps, *batch.records]


def _refusal(row: Row, error: Exception) -> Refusal:
    what = "log record of" if isinstance(row, RecordRow) else "span"
    reason = " ".join(str(error).split())[:200]
    return Refusal(
        "database", f"The database refuses {what} {row.span_id.hex()} of trace {row.trace_id.hex()}: {reason}"
    )


def _refuse(group: list[_Waiting], message: str) -> None:
    for _, answer in group:
        if not answer.done():
            answer.set_exception(Unavailable(message))

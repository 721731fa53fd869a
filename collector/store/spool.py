"""What is accepted while Postgres is away: on disk, bounded, and stored when it is back."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import uniform
from typing import NamedTuple, TypeVar

from collector.errors import Unavailable
from collector.store.spool_file import Entry, Spooled, SpoolFile
from collector.telemetry import Telemetry

Result = TypeVar("Result")
Store = Callable[[Spooled], Awaitable[object]]

CHUNK_REQUESTS = 64
CHUNK_BYTES = 4 << 20
WAIT_S = 0.5


class _Appending(NamedTuple):
    request: Spooled
    answer: asyncio.Future[None]


class Spool:
    """The contract of `append`: when it returns, the request is on disk and survives SIGKILL and power loss.

    It raises Unavailable where the spool is full or the disk does not take it; then nothing was kept. Requests leave in
    the order in which they came, a few at a time, beside new ones; one leaves only after it was stored. One that can't
    be stored for another reason than a lost database is set aside and tried again at the next start.
    """

    def __init__(self, folder: Path, limit_bytes: int, telemetry: Telemetry) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._telemetry = telemetry
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="xray-spool")
        self._file: SpoolFile | None = None
        self._waiting: list[_Appending] = []
        self._writing: asyncio.Future[None] | None = None
        self._appended = 0
        self._filled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.bytes = 0
        """Acknowledged here and not yet in Postgres."""

    @property
    def is_healthy(self) -> bool:
        return self._task is None or not self._task.done()

    async def open(self) -> None:
        """Find what an earlier process left; raises OSError or sqlite3.Error where the folder can't be used."""
        self._file = await self._in_thread(lambda: SpoolFile(self._folder))
        if damage := self._file.damage:
            self._telemetry.log.error("spool_damaged", kept_as=str(damage.kept_as), saved=damage.saved)
        await self._recount()

    def start(self, store: Store, is_available: Callable[[], bool]) -> None:
        """Drain from now on, whenever there is something and `is_available` says that it can be stored."""
        self._task = asyncio.create_task(self._drain_for_ever(store, is_available), name="spool")

    async def stop(self) -> None:
        """Safe twice, and without a start; what is not stored stays on disk."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        while self._writing is not None:
            await asyncio.wait([self._writing])
        file, self._file = self._file, None
        if file is not None:
            await self._in_thread(file.close)
        self._thread.shutdown(wait=False)

    async def append(self, request: Spooled) -> None:
        """Keep the request; see the contract of the class."""
        size_bytes = len(request.body)
        if self._file is None or self.bytes + size_bytes > self._limit_bytes:
            raise Unavailable("The database is away and the spool is full; send this again later.")
        self._grow(size_bytes)
        self._appended += 1
        appending = _Appending(request, asyncio.get_running_loop().create_future())
        self._waiting.append(appending)
        self._write_waiting()
        await appending.answer

    async def drain(self, store: Store) -> int:
        """Store what waits, oldest first; says how many. Raises Unavailable when the database is lost again."""
        stored, after = 0, 0
        while chunk := await self._read(after):
            after = chunk[-1].id
            stored += await self._store_chunk(chunk, store)
        await self._recount()
        return stored

    async def _read(self, after: int) -> list[Entry]:
        file = self._opened()
        return await self._in_thread(lambda: file.oldest(after, CHUNK_BYTES, CHUNK_REQUESTS))

    async def _store_chunk(self, chunk: list[Entry], store: Store) -> int:
        file = self._opened()
        outcomes = await asyncio.gather(*(store(entry.request) for entry in chunk), return_exceptions=True)
        done: list[Entry] = []
        bad: list[int] = []
        lost: BaseException | None = None
        for entry, outcome in zip(chunk, outcomes, strict=True):
            if not isinstance(outcome, BaseException):
                done.append(entry)
            elif isinstance(outcome, Unavailable) or not isinstance(outcome, Exception):
                lost = outcome
            else:
                self._telemetry.errors.report("spool_set_aside", outcome, request=entry.id)
                bad.append(entry.id)
        await self._in_thread(lambda: file.settle([entry.id for entry in done], bad))
        self._grow(-sum(len(entry.request.body) for entry in done))
        if lost is not None:
            raise lost
        return len(done)

    async def _drain_for_ever(self, store: Store, is_available: Callable[[], bool]) -> None:
        while True:
            await self._filled.wait()
            if is_available():
                try:
                    if await self.drain(store):
                        self._telemetry.log.info("spool_drained", bytes_left=self.bytes)
                except Unavailable as error:
                    self._telemetry.errors.report("spool_waiting", error)
                except Exception as error:  # noqa: BLE001 - the loop goes on; what failed is tried again
                    self._telemetry.errors.report("spool", error)
            await asyncio.sleep(WAIT_S * uniform(0.8, 1.2))  # noqa: S311 - jitter

    def _write_waiting(self) -> None:
        """Write all that waits in one transaction; what comes meanwhile is the next one."""
        if self._writing is not None or not self._waiting:
            return
        together, self._waiting = self._waiting, []
        file = self._opened()
        requests = [appending.request for appending in together]
        self._writing = asyncio.ensure_future(self._in_thread(lambda: file.append(requests)))
        self._writing.add_done_callback(lambda written: self._written(together, written))

    def _written(self, together: list[_Appending], written: "asyncio.Future[None]") -> None:
        self._writing = None
        error = None if written.cancelled() else written.exception()
        if error is not None:
            self._telemetry.errors.report("spool_append", error)
            self._grow(-sum(len(appending.request.body) for appending in together))
        else:
            self._filled.set()
        for appending in together:
            if appending.answer.done():
                continue
            if error is None:
                appending.answer.set_result(None)
            else:
                appending.answer.set_exception(Unavailable("The database is away and the spool can't be written."))
        self._write_waiting()

    async def _recount(self) -> None:
        """Ask the file, which other processes may use too, unless there is news meanwhile."""
        file, appended = self._opened(), self._appended
        size_bytes, waiting = await self._in_thread(lambda: (file.size_bytes, file.waiting))
        if appended != self._appended or self._writing is not None:
            return
        self._grow(size_bytes - self.bytes)
        if waiting:
            self._filled.set()
        else:
            self._filled.clear()

    def _grow(self, size_bytes: int) -> None:
        self.bytes = max(0, self.bytes + size_bytes)
        self._telemetry.metrics.spool_bytes.set(self.bytes)

    def _opened(self) -> SpoolFile:
        if self._file is None:
            raise Unavailable("The spool is closed.")
        return self._file

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

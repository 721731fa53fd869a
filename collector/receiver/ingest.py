"""The one path of an export request: admit, decode, map, write, answer. Both doors lead here."""

import asyncio
import enum
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import msgspec

from collector.errors import Overloaded, Rejected, Unavailable
from collector.mapping.logs import map_logs
from collector.mapping.pairs import Unreadable
from collector.mapping.steps import ProjectOf, map_traces, project_name
from collector.model import Batch, Refusal
from collector.receiver.admission import Admission, Seat
from collector.receiver.decode import Decoder, Encoding
from collector.receiver.shape import LOGS, TRACES, Shape
from collector.store.spool_file import Spooled
from collector.telemetry import Telemetry

DEFAULT_PROJECT = "default"
LARGE_BYTES = 1 << 20
"""Larger bodies are decoded and mapped in a thread: about 5 ms of work."""
MESSAGE_LIMIT = 4000
STUCK = "The database does not answer just now; send this again."
T = TypeVar("T")


class Signal(enum.Enum):
    TRACES = "traces"
    LOGS = "logs"
    METRICS = "metrics"


WORDS = {Signal.TRACES: "spans", Signal.LOGS: "log records"}


class Export(msgspec.Struct, frozen=True):
    """A request as it came through a door."""

    signal: Signal
    encoding: Encoding
    body: bytes
    project: str | None = None
    """The project of the caller's key; it wins over what the resource says."""
    is_acknowledged: bool = False
    """It waited in the spool: nothing of it may be refused any more for a limit."""


class Reply(msgspec.Struct, frozen=True):
    """What was stored is stored; `rejected` items are not and must not come again, for the reasons in `message`."""

    rejected: int = 0
    message: str = ""


class Store(Protocol):
    async def write(self, batch: Batch) -> list[Refusal]: ...


class Projects(Protocol):
    async def project_id(self, name: str, *, limited: bool = True) -> int: ...


class SpoolLike(Protocol):
    async def append(self, request: Spooled) -> None: ...


class _Content(msgspec.Struct, frozen=True):
    """What a request brings."""

    batch: Batch
    items: int
    """Spans or records that could be decoded."""
    repaired: int
    refusals: list[Refusal]
    lost: Unavailable | None
    """Set where the projects could not be looked up: the batch is only good for its refusals."""


class Ingest:
    """Answers an export only after its data are durable.

    `export` returns a Reply; it raises Rejected (never send it again) or Unavailable (send it again). Once a request
    is whole, its caller's cancellation or deadline changes nothing: others may share its transaction.
    """

    def __init__(self, store: Store, projects: Projects, admission: Admission, telemetry: Telemetry) -> None:
        self.admission = admission
        self.telemetry = telemetry
        self.answer_within_s = 15.0
        self.stored_within_s = 4.0
        """Where there is a spool: a store that takes longer counts as away. Collectors give up on a call after 5 s."""
        self._store = store
        self._projects = projects
        self._decoder = Decoder()
        self._open: set[asyncio.Task[Reply]] = set()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="xray-decode")
        self._spool: SpoolLike | None = None

    def use_spool(self, spool: SpoolLike) -> None:
        """From now on, what comes while Postgres is away is acknowledged into the spool."""
        self._spool = spool

    async def export(self, request: Export, seat: Seat | None = None) -> Reply:
        """Takes over the bytes that the door's seat holds; without one, waits for room itself."""
        if not request.body:
            return Reply()
        began = time.perf_counter()
        async with self.admission.seat(0) as own:
            held = seat or own
            await held.resize(len(request.body))
            task = asyncio.create_task(self._handle(request, held.move()))
        self._open.add(task)
        task.add_done_callback(self._settled)
        try:
            async with asyncio.timeout(self.answer_within_s):
                return await asyncio.shield(task)
        except TimeoutError:
            raise Unavailable("Storing takes too long at the moment; send it again.") from None
        finally:
            self.telemetry.metrics.export_seconds.observe(time.perf_counter() - began)

    async def stop(self, grace_s: float = 10.0) -> None:
        """Waits for what is still being stored, no longer than the grace. Safe twice."""
        if self._open:
            await asyncio.wait(self._open, timeout=grace_s)
        self._thread.shutdown(wait=False)

    def _settled(self, task: "asyncio.Task[Reply]") -> None:
        self._open.discard(task)
        if not task.cancelled():
            task.exception()  # the caller that should have seen it may be gone

    async def _handle(self, request: Export, seat: Seat) -> Reply:
        try:
            return await (self._metrics if request.signal is Signal.METRICS else self._keep)(request)
        finally:
            seat.leave()

    async def replay(self, spooled: Spooled) -> None:
        """Stores what was acknowledged into the spool. Raises Unavailable where it has to wait there longer."""
        request = Export(Signal(spooled.signal), Encoding(spooled.encoding), spooled.body, spooled.project, True)
        content = await self._read(request)
        if content.lost is not None:
            raise content.lost
        await self._store.write(content.batch)

    async def _keep(self, request: Export) -> Reply:
        content = await self._read(request)
        written = await self._write(request, content)
        self._count(request.signal, content, written)
        return _reply([*content.refusals, *written], WORDS[request.signal])

    async def _read(self, request: Export) -> _Content:
        try:
            return await self._mapped(request)
        except Unreadable:
            return await self._mapped(request, leniently=True)

    async def _mapped(self, request: Export, *, leniently: bool = False) -> _Content:
        """Decoded and mapped; the decoded messages are let go of before anything waits for the store."""
        is_traces = request.signal is Signal.TRACES
        decode, shape = (self._decoder.traces, TRACES) if is_traces else (self._decoder.logs, LOGS)
        decoded = await self._work(request, lambda: decode(request.body, request.encoding, leniently=leniently))
        resources = getattr(decoded.request, shape.resources)
        items = sum(len(getattr(scope, shape.items)) for each in resources for scope in getattr(each, shape.scopes))
        lost: Unavailable | None = None
        refused: dict[str, str] = {}
        try:
            async with self._patience():
                named = {project_name(each.resource) for each in resources}
                project_of, refused = await self._project_ids(request, named)
        except Unavailable as error:
            project_of, lost = _nowhere, error
        beyond = _without(request, resources, refused, shape) if refused else []
        repairs = decoded.findings.repairs
        if is_traces:
            batch = await self._work(request, lambda: map_traces(decoded.request, project_of, repairs))
        else:
            batch = await self._work(request, lambda: map_logs(decoded.request, project_of, repairs))
        batch.size_bytes += len(request.body)
        batch.refusals += beyond
        return _Content(batch, items, len(repairs), [*decoded.findings.refusals, *batch.refusals], lost)

    async def _write(self, request: Export, content: _Content) -> list[Refusal]:
        """Into the store; or into the spool, where there is one and Postgres is away."""
        try:
            if content.lost is not None:
                raise content.lost
            async with self._patience():
                return await self._store.write(content.batch)
        except Unavailable as error:
            if self._spool is None or isinstance(error, Overloaded):
                raise
            signal, encoding = request.signal.value, request.encoding.value
            await self._spool.append(Spooled(signal, encoding, request.project, request.body))
            return []

    @asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        """Raises Unavailable where the block takes too long and a spool can help; what it began may be stored still."""
        try:
            async with asyncio.timeout(self.stored_within_s if self._spool else None):
                yield
        except TimeoutError:
            raise Unavailable(STUCK) from None

    def _count(self, signal: Signal, content: _Content, written: list[Refusal]) -> None:
        metrics = self.telemetry.metrics
        accepted = content.items - _total(content.batch.refusals) - _total(written)
        if signal is Signal.LOGS:
            metrics.records_accepted.inc(max(accepted, 0))
            return
        metrics.spans_accepted.inc(max(accepted, 0))
        metrics.spans_repaired.inc(content.repaired)
        for refusal in [*content.refusals, *written]:
            metrics.spans_rejected.labels(refusal.reason).inc(refusal.spans)

    async def _metrics(self, request: Export) -> Reply:
        """Counted, not kept: refusing them would make every app that sends them log an error."""
        count = await self._work(request, lambda: self._decoder.metrics(request.body, request.encoding))
        self.telemetry.metrics.metrics_accepted.inc(count)
        return Reply()

    async def _work(self, request: Export, work: Callable[[], T]) -> T:
        """Work on the processor: here where it is short, else beside the loop."""
        if len(request.body) <= LARGE_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _project_ids(self, request: Export, named: set[str | None]) -> tuple[ProjectOf, dict[str, str]]:
        """The mapper's question: which project, by what a resource names; and projects that are refused, with why.

        A key's project wins over all.
        """
        ids: dict[str, int] = {}
        refused: dict[str, str] = {}
        for name in sorted({_project(request, name) for name in named}):
            try:
                ids[name] = await self._projects.project_id(name, limited=not request.is_acknowledged)
            except Rejected as refusal:
                refused[name] = str(refusal)
        return lambda name: ids[_project(request, name)], refused


def _project(request: Export, named: str | None) -> str:
    return request.project or named or DEFAULT_PROJECT


def _without(request: Export, resources: Any, refused: dict[str, str], shape: Shape) -> list[Refusal]:
    """Takes out what is for projects that are refused."""
    refusals = []
    for place in reversed(range(len(resources))):
        name = _project(request, project_name(resources[place].resource))
        if name in refused:
            items = sum(len(getattr(scope, shape.items)) for scope in getattr(resources[place], shape.scopes))
            refusals.append(Refusal("project_limit", refused[name], items))
            del resources[place]
    return refusals


def _nowhere(_: str | None) -> int:
    """Any project: the rows are thrown away, what counts is which spans are refused."""
    return 0


def _total(refusals: Iterable[Refusal]) -> int:
    return sum(refusal.spans for refusal in refusals)


def _reply(refusals: list[Refusal], word: str) -> Reply:
    if not refusals:
        return Reply()
    by_message: dict[str, int] = {}
    for refusal in refusals:
        by_message[refusal.message] = by_message.get(refusal.message, 0) + refusal.spans
    causes = "; ".join(f"{message.rstrip('.')} ({count})" for message, count in by_message.items())
    text = f"Not stored: {_total(refusals)} {word}. Correct them before they are sent again: {causes}."
    return Reply(_total(refusals), text[:MESSAGE_LIMIT])

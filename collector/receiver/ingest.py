"""The one path of an export request: admit, decode, map, write, answer. Both doors lead here."""

import asyncio
import enum
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import msgspec

from collector.errors import Unavailable
from collector.mapping.logs import map_logs
from collector.mapping.steps import map_traces, project_name, projects_in
from collector.model import Batch, Refusal
from collector.receiver.admission import Admission, Seat
from collector.receiver.decode import Decoder, Encoding
from collector.telemetry import Telemetry

DEFAULT_PROJECT = "default"
LARGE_BYTES = 1 << 20
"""Larger bodies are decoded and mapped in a thread: about 5 ms of work."""
MESSAGE_LIMIT = 4000
T = TypeVar("T")


class Signal(enum.Enum):
    TRACES = "traces"
    LOGS = "logs"
    METRICS = "metrics"


class Export(msgspec.Struct, frozen=True):
    """A request as it came through a door."""

    signal: Signal
    encoding: Encoding
    body: bytes
    project: str | None = None
    """The project of the caller's key; it wins over what the resource says."""


class Reply(msgspec.Struct, frozen=True):
    """What was stored is stored; `rejected` items are not and must not come again, for the reasons in `message`."""

    rejected: int = 0
    message: str = ""


class Store(Protocol):
    async def write(self, batch: Batch) -> list[Refusal]: ...


class Projects(Protocol):
    async def project_id(self, name: str) -> int: ...


class Ingest:
    """Answers an export only after its data are durable.

    `export` returns a Reply; it raises Rejected (never send it again) or Unavailable (send it again). Once a request
    is whole, its caller's cancellation or deadline changes nothing: others may share its transaction.
    """

    def __init__(self, store: Store, projects: Projects, admission: Admission, telemetry: Telemetry) -> None:
        self.admission = admission
        self.telemetry = telemetry
        self.answer_within_s = 15.0
        self._store = store
        self._projects = projects
        self._decoder = Decoder()
        self._open: set[asyncio.Task[Reply]] = set()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="xray-decode")
        self._handlers = {Signal.TRACES: self._traces, Signal.LOGS: self._logs, Signal.METRICS: self._metrics}

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
            return await self._handlers[request.signal](request)
        finally:
            seat.leave()

    async def _traces(self, request: Export) -> Reply:
        metrics = self.telemetry.metrics
        decoded = await self._work(request, lambda: self._decoder.traces(request.body, request.encoding))
        ids = await self._project_ids(request, projects_in(decoded.request))
        repairs = decoded.findings.repairs
        batch = await self._work(request, lambda: map_traces(decoded.request, ids, repairs))
        written = await self._store.write(batch)
        metrics.spans_accepted.inc(len(batch.steps) - _count(written))
        metrics.spans_repaired.inc(len(repairs))
        refusals = [*decoded.findings.refusals, *batch.refusals, *written]
        for refusal in refusals:
            metrics.spans_rejected.labels(refusal.reason).inc(refusal.spans)
        return _reply(refusals, "spans")

    async def _logs(self, request: Export) -> Reply:
        decoded = await self._work(request, lambda: self._decoder.logs(request.body, request.encoding))
        named = (project_name(each.resource) for each in decoded.request.resource_logs)
        ids = await self._project_ids(request, {name for name in named if name is not None})
        batch = await self._work(request, lambda: map_logs(decoded.request, ids))
        refusals = [*decoded.findings.refusals, *batch.refusals, *await self._store.write(batch)]
        received = sum(len(scope.log_records) for each in decoded.request.resource_logs for scope in each.scope_logs)
        reply = _reply(refusals, "log records")
        self.telemetry.metrics.records_accepted.inc(max(received - reply.rejected, 0))
        return reply

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

    async def _project_ids(self, request: Export, named: set[str]) -> Callable[[str | None], int]:
        """The mapper's question: which project, by what a resource names. A key's project wins over all."""
        names = {request.project} if request.project else named | {DEFAULT_PROJECT}
        ids = {name: await self._projects.project_id(name) for name in sorted(names)}
        if request.project:
            only = ids[request.project]
            return lambda _: only
        return lambda name: ids[name or DEFAULT_PROJECT]


def _count(refusals: Iterable[Refusal]) -> int:
    return sum(refusal.spans for refusal in refusals)


def _reply(refusals: list[Refusal], items: str) -> Reply:
    if not refusals:
        return Reply()
    by_message: dict[str, int] = {}
    for refusal in refusals:
        by_message[refusal.message] = by_message.get(refusal.message, 0) + refusal.spans
    rejected = _count(refusals)
    causes = "; ".join(f"{count} × {message}" for message, count in by_message.items())
    text = f"{rejected} {items} rejected, the rest is stored. Correct them before sending again: {causes}"
    return Reply(rejected, text[:MESSAGE_LIMIT])

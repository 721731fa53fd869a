"""Every metric of X-Ray, and how it logs: built once a process and passed down, never looked up.

A log line is an event with ids. It holds no attribute values, no prompts, no keys, and no text of a foreign exception
(a database quotes the row it refused): class, SQLSTATE and place instead.
"""

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TextIO, cast

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from collector.errors import Unavailable, XRayError
from collector.shared_metrics import reserve, summed_text

FAST_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SLOW_BUCKETS_S = (0.001, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
OUR_PACKAGES = ("collector", "api")
UNAVAILABLE = "unavailable"
OfMany = Literal["livesum", "livemax", "livemostrecent"]
"""What a gauge is when several processes have it."""


class Metrics:
    """One registry with all metrics of this process; who counts what stands in each help text.

    With a folder (see `collector.shared_metrics`) `text` speaks for all processes that count there.
    """

    def __init__(self, shared: Path | None = None) -> None:
        self._shared = shared
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str, of_many: OfMany = "livesum") -> Gauge:
            return Gauge(name, text, labels, registry=registry, multiprocess_mode=of_many)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, registry=registry, buckets=buckets)

        # Receiving (collector.receiver)
        self.spans_accepted = counter("xray_spans_accepted_total", "Spans acknowledged, duplicates included.")
        self.spans_rejected = counter("xray_spans_rejected_total", "Spans refused for good.", "reason")
        self.records_accepted = counter("xray_log_records_accepted_total", "Log records acknowledged.")
        self.metrics_accepted = counter("xray_metrics_accepted_total", "Metrics acknowledged and not kept.")
        self.exports = counter(
            "xray_exports_total", "Export requests by what they were answered.", "door", "signal", "answer"
        )
        self.spans_repaired = counter("xray_spans_repaired_total", "Spans altered so that they could be decoded.")
        self.export_seconds = histogram("xray_export_seconds", "From a whole request to its answer.", FAST_BUCKETS_S)
        self.inflight_bytes = gauge("xray_inflight_bytes", "Bytes of requests that are read, mapped or written.")

        # Storing (collector.store)
        self.spans_duplicate = counter("xray_spans_duplicate_total", "Spans that were stored already.")
        self.commit_seconds = histogram(
            "xray_commit_seconds", "One group's transaction, COMMIT included.", FAST_BUCKETS_S
        )
        self.spool_bytes = gauge("xray_spool_bytes", "Bytes acknowledged into the spool, not yet in Postgres.")

        # Sending on (exporters)
        self.exporter_lag = gauge(
            "xray_exporter_lag_seconds", "Age of the oldest row not yet exported.", "exporter", of_many="livemax"
        )

        # All loops
        self.errors = counter("xray_errors_total", "Errors that were survived, by event.", "event")
        self._of_reasoning(counter, gauge, histogram)
        if shared:
            reserve(shared)

    def _of_reasoning(
        self, counter: Callable[..., Counter], gauge: Callable[..., Gauge], histogram: Callable[..., Histogram]
    ) -> None:
        """Explaining (`collector.reasoning`)."""
        self.reasoning_jobs = gauge("xray_reasoning_jobs", "Jobs by status.", "status", of_many="livemostrecent")
        self.reasoning_oldest_pending = gauge(
            "xray_reasoning_oldest_pending_seconds", "Age of the oldest job that is due.", of_many="livemostrecent"
        )
        self.reasoning_seconds = histogram("xray_reasoning_seconds", "One call of the reasoner.", SLOW_BUCKETS_S)
        self.reasoning_tokens = counter("xray_reasoning_tokens_total", "Tokens of the reasoner's model.", "direction")
        self.reasoning_cost = counter("xray_reasoning_cost_usd_total", "What the reasoner's model has cost.")
        self.lease_lost = counter("xray_lease_lost_total", "Jobs that another worker took over.")

    def text(self) -> bytes:
        """The exposition that `GET /metrics` answers."""
        return summed_text(self._shared) if self._shared else generate_latest(self.registry)


class _Kind(msgspec.Struct):
    next_at: float
    suppressed: int = 0


class ErrorLog:
    """Errors as log lines, at most one a second for each event; the next line says how many were left out.

    What is Unavailable is one event, whoever says so: a lost database is met in many places.
    """

    def __init__(self, metrics: Metrics, log: Any = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._log = log if log is not None else structlog.get_logger("xray")
        self._clock = clock
        self._kinds: dict[str, _Kind] = {}

    def report(self, event: str, error: BaseException, **ids: Any) -> None:
        """Counts the error under `event` (a fixed word) and logs it without its foreign text."""
        self._metrics.errors.labels(event).inc()
        now = self._clock()
        of = UNAVAILABLE if isinstance(error, Unavailable) else event
        kind = self._kinds.setdefault(of, _Kind(next_at=now))
        if now < kind.next_at:
            kind.suppressed += 1
            return
        left_out = {"left_out": kind.suppressed} if kind.suppressed else {}
        self._kinds[of] = _Kind(next_at=now + 1.0)
        self._log.error(event, **describe(error), **left_out, **ids)


class Telemetry:
    """What every part is given to count and to speak."""

    def __init__(self, shared_metrics: Path | None = None) -> None:
        self.metrics = Metrics(shared_metrics)
        self.log: Any = structlog.get_logger("xray")
        self.errors = ErrorLog(self.metrics, self.log)


def describe(error: BaseException) -> dict[str, str]:
    """An error as log fields: its class, SQLSTATE and place; its text only where it is our own."""
    fields = {"error": type(error).__name__}
    if isinstance(error, XRayError):
        fields["message"] = str(error)[:500]
    cause = error.__cause__ or error
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        fields["sqlstate"] = state
    if cause is not error:
        fields["cause"] = type(cause).__name__
    place = _place(cause) or _place(error)
    return fields | ({"at": place} if place else {})


def _place(error: BaseException) -> str | None:
    """The innermost frame of our own code that the error came through."""
    found, traceback = None, error.__traceback__
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__", "")
        if module.split(".", 1)[0] in OUR_PACKAGES:
            found = f"{module}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return found


def start_logging(level: str = "info", form: str = "text", stream: TextIO | None = None) -> None:
    """Sets up structlog and the standard library's logging alike; `form` is `text` or `json`. Call once, at start."""
    stream = cast("TextIO", _Unfailing(stream or sys.stderr))
    number = logging.getLevelNamesMapping()[level.upper()]
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[Any] = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, stamp]
    last: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_PlainFormatter(foreign_pre_chain=shared, processors=[_without_meta, last]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Foreign libraries speak up only when something is wrong: their info lines may hold request data.
    root.setLevel(max(number, logging.WARNING))


def _without_meta(_: Any, __: str, event: Any) -> Any:
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(_, __, event)


class _Unfailing:
    """A stream that loses what can't be written: a full disk under the log must not end what logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        return self._stream.isatty()

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


class _PlainFormatter(structlog.stdlib.ProcessorFormatter):
    """A library's exception becomes its class: its text may quote data."""

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info and record.exc_info[1] is not None:
            record.msg = f"{record.getMessage()} [{type(record.exc_info[1]).__name__}]"
            record.args, record.exc_info, record.exc_text = None, None, None
        return super().format(record)

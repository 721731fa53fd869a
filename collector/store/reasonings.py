"""Reads of reasoning: what was explained and what still waits, joined to one state for each step or execution."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.model import EXECUTION_SPAN, ExecutionKey, Reasoning, RootCause
from collector.store.schema import reasoning_jobs, reasonings


class Result(NamedTuple):
    """A finished explanation."""

    trace_id: bytes
    span_id: bytes
    status: str
    text: str | None
    facts: str | None
    root_cause: str | None
    model: str | None
    revision: int
    attempts: int
    created_at: datetime


class Work(NamedTuple):
    """A job that waits, runs, or ended without a result."""

    trace_id: bytes
    span_id: bytes
    status: str
    attempts: int
    errors: str | None
    created_at: datetime


Place = tuple[bytes, bytes]
"""Trace id and span id (empty: the execution itself)."""


class States(NamedTuple):
    """All results and jobs that were asked for, by place."""

    results: dict[Place, Result]
    jobs: dict[Place, Work]

    def of(self, trace_id: bytes, span_id: bytes, revision: int) -> Reasoning | None:
        """The reasoning of one place, as of an execution's `revision`; None where nobody asked for it."""
        place = (trace_id, span_id)
        return reasoning_of(self.results.get(place), self.jobs.get(place), revision)


async def load_states(conn: AsyncConnection, key: ExecutionKey, span_ids: Collection[bytes] | None = None) -> States:
    """The reasoning of an execution and of all its steps, or of some."""

    def within(query: Select[Any], table: Any) -> Select[Any]:
        query = query.where(table.c.project_id == key.project_id, table.c.trace_id == key.trace_id)
        return query if span_ids is None else query.where(table.c.span_id.in_([EXECUTION_SPAN, *span_ids]))

    return await _read(conn, within)


async def load_own_states(conn: AsyncConnection, project_id: int, trace_ids: Sequence[bytes]) -> States:
    """The reasoning of some executions themselves, without their steps: a page of the list."""

    def within(query: Select[Any], table: Any) -> Select[Any]:
        own = table.c.span_id == EXECUTION_SPAN
        return query.where(table.c.project_id == project_id, table.c.trace_id.in_(trace_ids), own)

    return await _read(conn, within) if trace_ids else States({}, {})


async def _read(conn: AsyncConnection, within: Any) -> States:
    finished = within(select(*(reasonings.c[name] for name in Result._fields)), reasonings)
    waiting = within(select(*(reasoning_jobs.c[name] for name in Work._fields)), reasoning_jobs)
    # Jobs first: one that ends in between is then seen twice rather than not at all.
    jobs = [Work(*row) for row in await conn.execute(waiting)]
    results = [Result(*row) for row in await conn.execute(finished)]
    return States({row[:2]: row for row in results}, {row[:2]: row for row in jobs})


CANCELLED = "cancelled"
"""A job's status; the reasoning that it will not give is skipped, with this as its reason."""


def reasoning_of(result: Result | None, job: Work | None, revision: int) -> Reasoning | None:
    """A job tells the state, an earlier result stays readable beside it."""
    if result is None and job is None:
        return None
    shown = Reasoning(status="pending")
    if result is not None:
        shown = _finished(result, stale=result.revision < revision)
    if job is not None:
        shown.status = "skipped" if job.status == CANCELLED else job.status  # type: ignore[assignment]  # a CHECK says
        shown.attempts = job.attempts
        shown.error = CANCELLED if job.status == CANCELLED else _last_error(job.errors)
        shown.created_at = shown.created_at or job.created_at
    return shown


def _finished(result: Result, *, stale: bool) -> Reasoning:
    cause = msgspec.json.decode(result.root_cause, type=RootCause | None) if result.root_cause else None
    return Reasoning(
        status=result.status,  # type: ignore[arg-type]  # a CHECK says which
        text=result.text,
        model=result.model,
        attempts=result.attempts,
        stale=stale,
        created_at=result.created_at,
        facts=msgspec.Raw((result.facts or "null").encode()),
        root_cause=cause,
    )


def _last_error(errors: str | None) -> str | None:
    found = msgspec.json.decode(errors) if errors else []
    return str(found[-1].get("message")) if found else None

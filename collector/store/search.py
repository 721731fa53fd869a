"""What a list of executions can be searched by, as conditions over `executions`; steps are asked last and by key.

A search has a time limit: one that the indexes can't answer is refused with what to narrow, never left to run.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from sqlalchemy import ColumnElement, Text, and_, any_, cast, func, literal, or_, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.errors import Rejected
from collector.model import Kind
from collector.store.database import Database, sqlstate
from collector.store.schema import executions, origins, steps

SEARCH_LIMIT_MS = 5000
CANCELLED_STATEMENT = "57014"

Milliseconds = Annotated[float, Meta(ge=0, le=1e12)]


class ExecutionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Filters of the list; all that are given must hold."""

    service: Annotated[str | None, Meta(description="The service of the execution's root.")] = None
    name: Annotated[str | None, Meta(description="The execution's name; * stands for any text.")] = None
    status: Annotated[
        Literal["running", "ok", "error"] | None, Meta(description="running: its root may still come.")
    ] = None
    kind: Annotated[Kind | None, Meta(description="Executions whose root or any step is of this kind.")] = None
    model: Annotated[str | None, Meta(description="Executions that called this model.")] = None
    session_id: Annotated[str | None, Meta(description="The session, thread or conversation.")] = None
    user_id: Annotated[str | None, Meta(description="The user that the sender named.")] = None
    tag: Annotated[tuple[str, ...], Meta(description="May be repeated: all must be there.", max_length=10)] = ()
    since: Annotated[
        datetime | None, Meta(description="Started then or later: ISO 8601, or how long ago (15m, 24h, 7d).")
    ] = None
    until: Annotated[datetime | None, Meta(description="Started before; written like `since`.")] = None
    min_duration_ms: Annotated[Milliseconds | None, Meta(description="Took at least so long.")] = None
    max_duration_ms: Annotated[Milliseconds | None, Meta(description="Took at most so long.")] = None
    has_error: Annotated[bool | None, Meta(description="Whether any step failed.")] = None
    q: Annotated[
        str | None, Meta(description="Text in names, ids, inputs, outputs or error messages, in any case.")
    ] = None
    plumbing: Annotated[
        bool | None, Meta(description="false leaves out executions of plumbing alone (health checks and the like).")
    ] = None
    attributes: Annotated[
        tuple[tuple[str, str], ...], Meta(description="A step (or its resource) has the attribute KEY with this value.")
    ] = ()


def conditions(wanted: ExecutionFilter) -> list[ColumnElement[bool]]:
    """The filter as conditions, cheap ones first."""
    given = {name: getattr(wanted, name) for name in ExecutionFilter.__struct_fields__}
    found = [CONDITIONS[name](value) for name, value in given.items() if value not in (None, ())]
    return [condition for part in found for condition in part]


def _of_name(name: str) -> list[ColumnElement[bool]]:
    if "*" not in name:
        return [executions.c.name == name]
    return [executions.c.name.like(_pattern(name).replace("*", "%"), escape="\\")]


def _of_kind(kind: str) -> list[ColumnElement[bool]]:
    return [or_(executions.c.kind == kind, _has_step(steps.c.kind == kind))]


def _of_tags(tags: tuple[str, ...]) -> list[ColumnElement[bool]]:
    return [literal(tag) == any_(executions.c.tags) for tag in tags]


def _of_least(duration_ms: float) -> list[ColumnElement[bool]]:
    return [executions.c.ended_at - executions.c.started_at >= timedelta(milliseconds=duration_ms)]


def _of_most(duration_ms: float) -> list[ColumnElement[bool]]:
    return [executions.c.ended_at - executions.c.started_at <= timedelta(milliseconds=duration_ms)]


def _of_error(has_error: bool) -> list[ColumnElement[bool]]:
    return [executions.c.error_count > 0 if has_error else executions.c.error_count == 0]


def _of_attributes(pairs: tuple[tuple[str, str], ...]) -> list[ColumnElement[bool]]:
    return [_has_attribute(key, value) for key, value in pairs]


def _has_attribute(key: str, value: str) -> ColumnElement[bool]:
    moved = or_(
        and_(steps.c.input_key == key, _text_of(steps.c.input) == value),
        and_(steps.c.output_key == key, _text_of(steps.c.output) == value),
    )
    own = steps.c.attributes.op("->>")(key) == value
    of_resource = and_(
        origins.c.project_id == steps.c.project_id,
        origins.c.origin_id == steps.c.origin_id,
        origins.c.resource.op("->")("attributes").op("->>")(key) == value,
    )
    return or_(_has_step(or_(own, moved)), _has_step(select(literal(1)).where(of_resource).correlate(steps).exists()))


def _text_of(json_column: ColumnElement[str]) -> ColumnElement[str]:
    """A JSON text as the text that it is, without quotes."""
    return json_column.op("#>>")(text("'{}'"))


def _of_text(wanted: str) -> list[ColumnElement[bool]]:
    pattern = f"%{_pattern(wanted)}%"
    own = [executions.c[name] for name in ("name", "service", "execution_id", "session_id", "user_id")]
    stepwise = [steps.c[name] for name in ("name", "error_message", "model", "tool")]
    values = [cast(steps.c[name], Text) for name in ("input", "output")]
    return [
        or_(
            *(column.ilike(pattern, escape="\\") for column in own),
            func.encode(executions.c.trace_id, "hex").startswith(wanted.lower(), autoescape=True),
            _has_step(or_(*(column.ilike(pattern, escape="\\") for column in [*stepwise, *values]))),
        )
    ]


def _pattern(wanted: str) -> str:
    return wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _has_step(wanted: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether the execution at hand has such a step: read by key, within the execution's own days."""
    return (
        select(literal(1))
        .where(
            steps.c.project_id == executions.c.project_id,
            steps.c.trace_id == executions.c.trace_id,
            steps.c.started_at.between(executions.c.started_at, executions.c.ended_at),
            wanted,
        )
        .correlate(executions)
        .exists()
    )


CONDITIONS: dict[str, Callable[..., list[ColumnElement[bool]]]] = {
    "since": lambda time: [executions.c.started_at >= time.astimezone(UTC)],
    "until": lambda time: [executions.c.started_at < time.astimezone(UTC)],
    "service": lambda service: [executions.c.service == service],
    "name": _of_name,
    "status": lambda status: [executions.c.status == status],
    "model": lambda model: [literal(model) == any_(executions.c.models)],
    "session_id": lambda session: [executions.c.session_id == session],
    "user_id": lambda user: [executions.c.user_id == user],
    "tag": _of_tags,
    "min_duration_ms": _of_least,
    "max_duration_ms": _of_most,
    "has_error": _of_error,
    "plumbing": lambda plumbing: [executions.c.plumbing == plumbing],
    "kind": _of_kind,
    "attributes": _of_attributes,
    "q": _of_text,
}


@asynccontextmanager
async def searching(database: Database, limit_ms: int = SEARCH_LIMIT_MS) -> AsyncIterator[AsyncConnection]:
    """A transaction for reads that may be wide; past the limit it raises Rejected with what to do."""
    async with database.begin() as conn:
        await conn.execute(text(f"SET LOCAL statement_timeout = {int(limit_ms)}"))
        try:
            yield conn
        except DBAPIError as error:
            if sqlstate(error) != CANCELLED_STATEMENT:
                raise
            raise Rejected(
                f"This search took longer than {limit_ms / 1000:g} s and was stopped: "
                "narrow it with since and until, or with service."
            ) from error

"""Stored rows as what the API shows: pure."""

from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from api.schemas import ExecutionDetail, ExecutionHead, ExecutionView, JobView, StepView, WideStepView
from collector.mapping.record_events import events_of, without_step
from collector.mapping.values import moved_text
from collector.model import EXECUTION_SPAN, Facts, Reasoning, Step, StepError, Tokens
from collector.store.executions import ExecutionRow
from collector.store.ledger import LedgerRow
from collector.store.reasonings import States
from collector.store.records import Records
from collector.store.steps import WideStep

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NULL = msgspec.Raw(b"null")
NOTHING_WIDE = WideStep(attributes="{}")


class Assembled(NamedTuple):
    """All of an execution, as of one moment."""

    row: ExecutionRow
    facts: Facts
    steps: list[Step]
    records: Records


def raw(json_text: str | None) -> msgspec.Raw:
    return NULL if json_text is None else msgspec.Raw(json_text.encode())


def milliseconds(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else duration_ns / 1e6


def time_of(unix_ns: int) -> datetime:
    return EPOCH + timedelta(microseconds=unix_ns // 1000)


def list_item(row: ExecutionRow, project: str, reasoning: Reasoning | None) -> ExecutionView:
    """An execution from its row alone."""
    return ExecutionView(
        execution_id=row.execution_id or row.trace_id.hex(),
        trace_id=row.trace_id.hex(),
        project=project,
        name=row.name,
        kind=row.kind,
        service=row.service,
        status=row.status,  # type: ignore[arg-type]  # the column is computed from these words
        started_at=row.started_at,
        completed_at=None if row.status == "running" else row.ended_at,
        duration_ms=_span_ms(row),
        step_count=row.step_count,
        error_count=row.error_count,
        tokens=row.tokens or Tokens(),
        cost_usd=row.cost_usd,
        prices_at=row.prices_at,
        models=row.models or [],
        session_id=row.session_id,
        user_id=row.user_id,
        environment=row.environment,
        tags=row.tags or [],
        metadata=raw(row.metadata),
        final_outcome=raw(row.final_outcome),
        reasoning=reasoning,
        root_missing=bool(row.root_missing),
        plumbing=row.plumbing,
        warnings=row.warnings,
    )


def _span_ms(row: ExecutionRow) -> float:
    return max(0.0, (row.ended_at - row.started_at) / timedelta(milliseconds=1))


def detail(whole: Assembled, project: str, states: States) -> ExecutionDetail:
    """An execution from all of its steps, exact at any time: its row may not have settled yet."""
    row, facts = whole.row, whole.facts
    status = "running" if facts.status == "ok" and row.status == "running" else facts.status
    stray = without_step(whole.records.found, {step.span_id for step in whole.steps})
    events = events_of(None, stray, whole.records.unread)
    return ExecutionDetail(
        execution_id=facts.execution_id or row.trace_id.hex(),
        trace_id=row.trace_id.hex(),
        project=project,
        name=facts.name or row.name,
        kind=facts.kind,
        service=facts.service or row.service,
        status=status,
        started_at=row.started_at,
        completed_at=None if status == "running" else row.ended_at,
        duration_ms=_span_ms(row),
        step_count=len(whole.steps),
        error_count=sum(step.status == "error" for step in whole.steps),
        tokens=facts.tokens or Tokens(),
        cost_usd=facts.cost_usd,
        prices_at=facts.prices_at,
        models=facts.models,
        session_id=facts.session_id,
        user_id=facts.user_id,
        environment=facts.environment,
        tags=facts.tags,
        metadata=raw(facts.metadata),
        final_outcome=raw(facts.final_outcome),
        reasoning=states.of(row.trace_id, EXECUTION_SPAN, row.revision),
        root_missing=facts.root_missing,
        plumbing=facts.plumbing,
        warnings=facts.warnings,
        root_span_id=facts.root_span_id.hex(),
        steps=[step_view(step, states.of(row.trace_id, step.span_id, row.revision)) for step in whole.steps],
        events=msgspec.Raw(events.text.encode()),
        events_left_out=events.left_out,
    )


def detail_head(listed: ExecutionView, row: ExecutionRow, stray: Records) -> ExecutionHead:
    """A very large execution with the facts that stand in its row, and without its steps."""
    events = events_of(None, stray.found, stray.unread)
    return ExecutionHead(
        **{name: getattr(listed, name) for name in listed.__struct_fields__},
        root_span_id=row.root_span_id.hex(),
        events=msgspec.Raw(events.text.encode()),
        events_left_out=events.left_out,
    )


def step_view(step: Step, reasoning: Reasoning | None) -> StepView:
    return StepView(
        span_id=step.span_id.hex(),
        parent_span_id=step.parent_span_id.hex() if step.parent_span_id else None,
        name=step.name,
        label=step.extra.label if step.extra else None,
        kind=step.kind,
        status=step.status,
        service=step.service,
        started_at=time_of(step.start_ns),
        start_unix_nano=str(step.start_ns),
        duration_ms=milliseconds(step.duration_ns),
        input=raw(step.input),
        output=raw(step.output),
        error=step.error or (StepError() if step.status == "error" else None),
        model=step.model,
        provider=step.provider,
        tokens=step.tokens,
        cost_usd=step.cost_usd,
        cost_source=step.cost_source,
        tool=step.tool,
        session_id=step.session_id,
        user_id=step.user_id,
        plumbing=bool(step.extra and step.extra.plumbing),
        warnings=step.warnings,
        reasoning=reasoning,
    )


def wide_step_view(whole: Assembled, step: Step, wide: WideStep | None, reasoning: Reasoning | None) -> WideStepView:
    """A step with what it alone has; `wide` is None for one that only its pending span tells of."""
    shown = step_view(step, reasoning)
    wide = wide or NOTHING_WIDE
    events = events_of(wide.events, whole.records.found, whole.records.unread)
    return WideStepView(
        **{name: getattr(shown, name) for name in shown.__struct_fields__},
        execution_id=whole.facts.execution_id or whole.row.trace_id.hex(),
        trace_id=whole.row.trace_id.hex(),
        span_kind=step.span_kind,
        trace_state=wide.trace_state,
        flags=wide.flags,
        attributes=msgspec.Raw(all_attributes(wide).encode()),
        events=msgspec.Raw(events.text.encode()),
        events_left_out=events.left_out,
        links=msgspec.Raw((wide.links or "[]").encode()),
        resource=raw(wide.resource),
        scope=raw(wide.scope),
    )


def all_attributes(wide: WideStep) -> str:
    """The attributes as they came: those that were moved to input and output are put back."""
    text = wide.attributes
    for key, column in ((wide.input_key, wide.input), (wide.output_key, wide.output)):
        if key is not None and column is not None:
            member = msgspec.json.encode({key: moved_text(column)}).decode()
            text = member if text == "{}" else f"{text[:-1]},{member[1:]}"
    return text


def job_view(row: LedgerRow) -> JobView:
    return JobView(
        id=job_id(row.trace_id, row.span_id),
        trace_id=row.trace_id.hex(),
        span_id=row.span_id.hex() or None,
        status=row.status,  # type: ignore[arg-type]  # a CHECK says which
        attempts=row.attempts,
        priority=row.priority,
        error=row.error,
        reasoner=row.reasoner,
        model=row.model,
        tokens=Tokens(input=row.tokens_input, output=row.tokens_output),
        cost_usd=row.cost_usd,
        run_at=row.run_at if row.run_at and row.run_at.year < MAXYEAR else None,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def job_id(trace_id: bytes, span_id: bytes) -> str:
    return f"{trace_id.hex()}.{span_id.hex()}"

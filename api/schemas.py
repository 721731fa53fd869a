"""What the REST API answers and takes, as structs; a `msgspec.Raw` is stored JSON that passes through unparsed."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from collector.model import Reasoning, StepError, Tokens

Json = msgspec.Raw
"""Any JSON, null included."""


class StepView(msgspec.Struct, kw_only=True):
    """A step as it stands in its execution."""

    span_id: str
    parent_span_id: str | None
    name: str
    label: str | None
    kind: str
    status: Literal["unset", "ok", "error"]
    service: str | None
    started_at: datetime
    start_unix_nano: str
    duration_ms: float | None
    input: Json
    output: Json
    error: StepError | None
    model: str | None
    provider: str | None
    tokens: Tokens | None
    cost_usd: float | None
    cost_source: str | None
    tool: str | None
    session_id: str | None
    user_id: str | None
    plumbing: bool
    warnings: list[str]
    reasoning: Reasoning | None


class WideStepView(StepView, kw_only=True):
    """A step with everything that came with it."""

    execution_id: str
    trace_id: str
    span_kind: int
    trace_state: str | None
    flags: int | None
    attributes: msgspec.Raw
    events: msgspec.Raw
    """Span events and log records (`"source": "log"`) in the order of time."""
    events_left_out: int
    """Log records that are too many to be shown; errors and early ones are."""
    links: msgspec.Raw
    resource: Json
    scope: Json


class ExecutionView(msgspec.Struct, kw_only=True):
    """An execution as the list shows it."""

    execution_id: str
    """The sender's own id, else the trace id."""
    trace_id: str
    project: str
    name: str
    kind: str
    service: str | None
    status: Literal["running", "ok", "error"]
    started_at: datetime
    completed_at: datetime | None
    """The end of the last step; null while the execution is running."""
    duration_ms: float
    step_count: int
    error_count: int
    tokens: Tokens
    cost_usd: float | None
    models: list[str]
    session_id: str | None
    user_id: str | None
    environment: str | None
    tags: list[str]
    metadata: Json
    final_outcome: Json
    reasoning: Reasoning | None
    root_missing: bool
    plumbing: bool
    warnings: list[str]


class ExecutionHead(ExecutionView, kw_only=True):
    root_span_id: str
    events: msgspec.Raw
    """Log records of this trace that name no span, or one that has not come."""
    events_left_out: int


class ExecutionDetail(ExecutionHead, kw_only=True):
    """An execution with its steps in start order."""

    steps: list[StepView]
    next_steps_cursor: str | None = None
    """Where an execution has more steps than were asked for: `steps_cursor` for the next ones."""


class ExecutionPage(msgspec.Struct):
    items: list[ExecutionView]
    next_cursor: str | None


class JobView(msgspec.Struct, kw_only=True):
    """A reasoning job; `span_id` is null for the execution's own."""

    id: str
    trace_id: str
    span_id: str | None
    status: Literal["pending", "processing", "completed", "failed", "cancelled", "skipped"]
    attempts: int
    priority: int | None
    error: str | None
    reasoner: str | None
    model: str | None
    tokens: Tokens
    cost_usd: float | None
    run_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


class JobPage(msgspec.Struct):
    items: list[JobView]
    next_cursor: str | None


class ReasoningStats(msgspec.Struct, kw_only=True):
    pending: int
    processing: int
    completed: int
    failed: int
    cancelled: int
    oldest_pending_age_s: float
    """How long the oldest job that is due has waited."""
    tokens: int
    cost_usd: float


class StepStatsView(msgspec.Struct, kw_only=True):
    name: str
    kind: str
    service: str | None
    count: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    tokens: Tokens
    cost_usd: float | None


class StepStatsPage(msgspec.Struct):
    since: datetime
    until: datetime
    is_exact: bool
    """False for ranges over 25 hours: whole hours, settled executions only, percentiles off by up to 4.5 %."""
    items: list[StepStatsView]
    next_cursor: None = None


class BucketView(msgspec.Struct, kw_only=True):
    started_at: datetime
    executions: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    tokens: Tokens
    cost_usd: float | None


class Timeline(msgspec.Struct):
    since: datetime
    until: datetime
    bucket_s: int
    items: list[BucketView]
    next_cursor: None = None


class Ask(msgspec.Struct, forbid_unknown_fields=True):
    """Explain (again): the whole execution, or only some of its steps."""

    steps: Annotated[list[Annotated[str, Meta(pattern="^[0-9a-fA-F]{16}$")]], Meta(max_length=1000)] | None = None
    force: Annotated[bool, Meta(description="Skip the cache: ask the model anew.")] = False


class Process(msgspec.Struct, forbid_unknown_fields=True):
    """What to explain again: one execution, or everything whose jobs have failed."""

    execution_id: str | None = None
    status: Literal["failed"] | None = None


class Enqueued(msgspec.Struct):
    enqueued: int


class Alive(msgspec.Struct):
    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct):
    status: Literal["ok", "not ready"]
    parts: dict[str, str]
    """Each part with "ok", or with what keeps it from its work."""


class StepEvent(msgspec.Struct):
    execution_id: str
    trace_id: str
    step: StepView


class ReasoningEvent(msgspec.Struct):
    """`span_id` is null for the execution's own."""

    execution_id: str
    trace_id: str
    span_id: str | None
    reasoning: Reasoning | None

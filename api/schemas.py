"""What the REST API answers and takes, as structs; a `msgspec.Raw` is stored JSON that passes through unparsed."""

from datetime import date, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from collector.model import Reasoning, StepError, Tokens

Json = msgspec.Raw
"""Any JSON, null included."""


class StepView(msgspec.Struct, kw_only=True):
    """A step as it stands in its execution."""

    span_id: Annotated[str, Meta(description="16 hex digits.")]
    parent_span_id: Annotated[str | None, Meta(description="Null for a root; it may name a step that has not come.")]
    name: str
    label: Annotated[
        str | None, Meta(description="A readable name, where the instrumentation has one beside the span's.")
    ]
    kind: Annotated[str, Meta(description="One of those that the list of executions can be searched by.")]
    status: Literal["unset", "ok", "error"]
    service: str | None
    started_at: datetime
    start_unix_nano: Annotated[str, Meta(description="Exact, as text: larger than what a double holds.")]
    duration_ms: Annotated[float | None, Meta(description="Null where the end is missing, or before the start.")]
    input: Annotated[Json, Meta(description="Any JSON: structured where the sender gave structure, else text.")]
    output: Annotated[Json, Meta(description="Like input.")]
    error: StepError | None
    model: str | None
    provider: str | None
    tokens: Tokens | None
    cost_usd: Annotated[float | None, Meta(description="Null where no price is known.")]
    cost_source: Annotated[str | None, Meta(description="sender, or prices: tokens at the listed price.")]
    tool: str | None
    session_id: str | None
    user_id: str | None
    plumbing: Annotated[bool, Meta(description="A health check or the like.")]
    warnings: Annotated[list[str], Meta(description="What had to be altered to be stored, or does not fit together.")]
    reasoning: Annotated[Reasoning | None, Meta(description="Null where nobody asked for it.")]


class WideStepView(StepView, kw_only=True):
    """A step with everything that came with it."""

    execution_id: str
    trace_id: str
    span_kind: Annotated[int, Meta(description="OTLP's number.")]
    trace_state: str | None
    flags: int | None
    attributes: Annotated[msgspec.Raw, Meta(description="As they came; bytes as base64 text.")]
    events: Annotated[
        msgspec.Raw, Meta(description='Span events and log records (`"source": "log"`) in the order of time.')
    ]
    events_left_out: Annotated[
        int, Meta(description="Log records that are too many to be shown; errors and early ones are.")
    ]
    links: msgspec.Raw
    resource: Annotated[Json, Meta(description="Attributes of the resource, and what was dropped of them.")]
    scope: Annotated[Json, Meta(description="Name, version and attributes of the instrumentation.")]


class ExecutionView(msgspec.Struct, kw_only=True):
    """An execution as the list shows it."""

    execution_id: Annotated[str, Meta(description="The sender's own id, else the trace id.")]
    trace_id: Annotated[str, Meta(description="32 hex digits.")]
    project: str
    name: Annotated[str, Meta(description="The root's.")]
    kind: str
    service: Annotated[str | None, Meta(description="The root's.")]
    status: Literal["running", "ok", "error"]
    started_at: datetime
    completed_at: Annotated[
        datetime | None, Meta(description="The end of the last step; null while the execution is running.")
    ]
    duration_ms: Annotated[float, Meta(description="From the start of the first step to the end of the last.")]
    step_count: int
    error_count: int
    tokens: Annotated[Tokens, Meta(description="Every model call counted once.")]
    cost_usd: Annotated[float | None, Meta(description="Null where no price is known.")]
    prices_at: Annotated[
        date | None, Meta(description="The day of the newest price behind the cost; null without one.")
    ]
    models: list[str]
    session_id: str | None
    user_id: str | None
    environment: str | None
    tags: list[str]
    metadata: Annotated[Json, Meta(description="Any JSON.")]
    final_outcome: Annotated[Json, Meta(description="What came of it: any JSON.")]
    reasoning: Reasoning | None
    root_missing: Annotated[bool, Meta(description="The root has not come.")]
    plumbing: Annotated[bool, Meta(description="Nothing but health checks and the like.")]
    warnings: list[str]


class ExecutionHead(ExecutionView, kw_only=True):
    root_span_id: Annotated[str, Meta(description="The step that names the execution.")]
    events: Annotated[
        msgspec.Raw, Meta(description="Log records of this trace that name no span, or one that has not come.")
    ]
    events_left_out: int


class ExecutionDetail(ExecutionHead, kw_only=True):
    """An execution with its steps in start order."""

    steps: list[StepView]
    next_steps_cursor: Annotated[
        str | None,
        Meta(description="Where an execution has more steps than were asked for: `steps_cursor` for the next ones."),
    ] = None


class ExecutionPage(msgspec.Struct):
    items: list[ExecutionView]
    next_cursor: str | None


class JobView(msgspec.Struct, kw_only=True):
    """A reasoning job; `span_id` is null for the execution's own."""

    id: Annotated[str, Meta(description="TRACE.SPAN in hex, TRACE. for the execution's own.")]
    trace_id: str
    span_id: Annotated[str | None, Meta(description="Null for the execution's own.")]
    status: Literal["pending", "processing", "completed", "failed", "cancelled", "skipped"]
    attempts: int
    priority: Annotated[int | None, Meta(description="A smaller one goes first; null for what is done.")]
    error: str | None
    reasoner: str | None
    model: str | None
    tokens: Tokens
    cost_usd: float | None
    run_at: Annotated[
        datetime | None, Meta(description="When it is due; null while it waits for its execution to fall quiet.")
    ]
    created_at: datetime
    finished_at: Annotated[datetime | None, Meta(description="Null while it waits or runs.")]


class JobPage(msgspec.Struct):
    items: list[JobView]
    next_cursor: str | None


class ReasoningStats(msgspec.Struct, kw_only=True):
    pending: int
    processing: int
    completed: int
    failed: int
    cancelled: int
    oldest_pending_age_s: Annotated[float, Meta(description="How long the oldest job that is due has waited.")]
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
    is_exact: Annotated[
        bool,
        Meta(description="False for more than 25 hours: whole hours, what has settled, percentiles within 4.5 %."),
    ]
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
    parts: Annotated[dict[str, str], Meta(description='Each part with "ok", or with what keeps it from its work.')]


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

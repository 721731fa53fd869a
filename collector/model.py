"""The data of X-Ray: rows on their way into the store, and what is read back from it.

Ids are raw bytes (trace 16, span 8), times are integer Unix nanoseconds, JSON is text that has been encoded once:
all three keep that form until the edge. "JSON text" below means a `str` that holds one valid JSON value.
"""

from datetime import date, datetime
from typing import Literal, NamedTuple, get_args

import msgspec

Status = Literal["unset", "ok", "error"]

AiKind = Literal[
    "agent", "llm", "tool", "chain", "retriever", "embedding", "reranker", "guardrail", "evaluator", "prompt", "memory"
]
PlainKind = Literal["http", "db", "rpc", "messaging", "function", "other"]
Kind = Literal[AiKind, PlainKind]
KINDS = frozenset(get_args(Kind))

EXECUTION_SPAN = b""
"""Stands for the execution itself where a span id is part of a key (jobs, reasonings)."""

POSTGRES_EPOCH_US = 946_684_800_000_000
"""Unix microseconds of 2000-01-01 UTC, where Postgres starts to count."""


class StepRow(NamedTuple):
    """One row of `steps` on its way to COPY, in the order of the columns."""

    project_id: int
    trace_id: bytes
    span_id: bytes
    started_at: int
    """Microseconds since 2000-01-01 UTC: the partition key, clamped to what a timestamp holds."""
    start_ns: int
    duration_ns: int | None
    """None where the end is missing or before the start (with a warning)."""
    parent_span_id: bytes | None
    name: str
    kind: str
    span_kind: int
    status: Status
    status_code: int
    """As sent; `status` may say error where it does not (an exception, an error attribute)."""
    status_message: str | None
    error_type: str | None
    error_message: str | None
    error_stacktrace: str | None
    service: str | None
    input: str | None
    """JSON text."""
    output: str | None
    """JSON text."""
    input_key: str | None
    """The attribute whose text went unchanged into `input`; it is left out of `attributes`, and readers put it back."""
    output_key: str | None
    model: str | None
    provider: str | None
    tool: str | None
    session_id: str | None
    user_id: str | None
    tokens_input: int | None
    tokens_output: int | None
    tokens_cached: int | None
    tokens_cache_write: int | None
    tokens_reasoning: int | None
    cost_usd: float | None
    cost_source: str | None
    """`sender` or `prices`."""
    extra: str | None
    """JSON text of `StepExtra`: facts that few spans have."""
    attributes: str
    """JSON text, an object."""
    events: str | None
    """JSON text: [{"name", "time_unix_nano", "attributes", "dropped_attributes_count"?}]."""
    links: str | None
    """JSON text: [{"trace_id", "span_id", "trace_state"?, "flags"?, "attributes", "dropped_attributes_count"?}]."""
    origin_id: bytes
    """16 bytes: digest of the resource and scope (`OriginRow`)."""
    flags: int | None
    trace_state: str | None
    warnings: str | None
    """JSON text: [text]."""
    wire: bytes | None
    """The span as it came (protobuf), kept only where the columns can't give it back exactly."""


class RecordRow(NamedTuple):
    """One row of `records`: a log record that belongs to a trace."""

    project_id: int
    trace_id: bytes
    span_id: bytes
    """Empty where the record names no span."""
    record_id: bytes
    """16 bytes: digest of the record's content, so that a record sent twice is stored once."""
    time_ns: int
    event_name: str | None
    severity: int
    body: str | None
    """JSON text."""
    attributes: str
    """JSON text, an object."""
    origin_id: bytes
    warnings: str | None


class OriginRow(NamedTuple):
    """One row of `origins`: the resource and the scope that many spans share."""

    project_id: int
    origin_id: bytes
    service: str | None
    resource: str
    """JSON text: {"attributes": {…}, "dropped_attributes_count"?, "schema_url"?}."""
    scope: str
    """JSON text: {"name", "version", "attributes", "dropped_attributes_count"?, "schema_url"?}."""
    wire: bytes
    """A ResourceSpans (protobuf): this resource and one ScopeSpans without spans, with exact types for OTLP out."""


class Refusal(NamedTuple):
    """Spans or records of a request that can't be stored; the rest of the request is."""

    reason: str
    """A short word for the metric's label: `trace_id`, `span_id`, `not_spans`, `project_limit`, `database`."""
    message: str
    """What is wrong and what to do, for the sender's developer."""
    spans: int = 1


class Batch(msgspec.Struct):
    """What one export request becomes."""

    steps: list[StepRow] = []
    records: list[RecordRow] = []
    origins: dict[tuple[int, bytes], OriginRow] = {}
    refusals: list[Refusal] = []
    size_bytes: int = 0


class StepExtra(msgspec.Struct, omit_defaults=True):
    """Facts that few spans carry and that tell about their execution."""

    execution_id: str | None = None
    tags: list[str] | None = None
    metadata: msgspec.Raw = msgspec.Raw()
    """JSON, mostly an object; empty where none was given (a union of Raw and None can't be read)."""
    outcome: msgspec.Raw = msgspec.Raw()
    environment: str | None = None
    agent: str | None = None
    conversation_id: str | None = None
    """Where both a session and a conversation were given."""
    label: str | None = None
    """A readable name beside the span's own (a filled-in template)."""
    dialect: str | None = None
    request_model: str | None = None
    """Where another model answered than was asked for."""
    service_tier: str | None = None
    plumbing: bool = False
    """True for spans that nobody looks for by themselves: health checks, redis pings, ASGI send and receive."""
    finish_reasons: list[str] | None = None
    response_id: str | None = None
    tool_call_id: str | None = None
    first_token_ms: float | None = None
    cache_write_1h: int | None = None
    pending_parent_id: str | None = None
    """Hex: this row is a pending span of the one that is its parent."""


class Tokens(msgspec.Struct, frozen=True):
    """Token counts; `cached` and `cache_write` are part of `input`, `reasoning` is part of `output`."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None
    cache_write: int | None = None


class StepError(msgspec.Struct, frozen=True):
    type: str | None = None
    message: str | None = None
    stacktrace: str | None = None


class Step(msgspec.Struct):
    """A step as it is read for an execution's detail, for settling and for reasoning: without the wide columns."""

    span_id: bytes
    parent_span_id: bytes | None
    name: str
    kind: str
    span_kind: int
    status: Status
    service: str | None
    start_ns: int
    duration_ns: int | None
    input: str | None
    output: str | None
    error: StepError | None
    model: str | None
    provider: str | None
    tool: str | None
    session_id: str | None
    user_id: str | None
    tokens: Tokens | None
    cost_usd: float | None
    cost_source: str | None
    extra: StepExtra | None
    warnings: list[str]


class Record(msgspec.Struct):
    """A log record as it is read back to be joined to its step."""

    span_id: bytes
    time_ns: int
    event_name: str | None
    severity: int
    body: str | None
    attributes: str
    record_id: bytes = b""
    warnings: str | None = None
    """JSON text, an array: what was altered in it."""


class Facts(msgspec.Struct):
    """What a whole execution says of itself, computed over all its steps by rules that no order can change."""

    execution_id: str | None
    name: str
    kind: str
    service: str | None
    root_span_id: bytes
    root_missing: bool
    status: Literal["running", "ok", "error"]
    session_id: str | None
    user_id: str | None
    tags: list[str]
    environment: str | None
    metadata: str | None
    """JSON text, mostly an object."""
    final_outcome: str | None
    """JSON text."""
    tokens: Tokens | None
    cost_usd: float | None
    prices_at: date | None
    models: list[str]
    plumbing: bool
    warnings: list[str]


class ExecutionKey(NamedTuple):
    project_id: int
    trace_id: bytes


class RootCause(msgspec.Struct, frozen=True):
    span_id: str
    """Hex."""
    confidence: float
    evidence: list[str]


class Explanation(msgspec.Struct):
    """What a reasoner says of one step or of the execution itself (`span_id` empty)."""

    span_id: bytes
    text: str
    facts: msgspec.Raw | None = None
    """A JSON object."""
    root_cause: RootCause | None = None
    model: str | None = None
    tokens_input: int = 0
    tokens_output: int = 0
    cost_usd: float | None = None


class Reasoning(msgspec.Struct):
    """The state of a step's or an execution's reasoning, as the API shows it."""

    status: Literal["pending", "processing", "completed", "failed", "skipped"]
    text: str | None = None
    model: str | None = None
    error: str | None = None
    attempts: int = 0
    stale: bool = False
    created_at: datetime | None = None
    facts: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))
    """A JSON object, or null."""
    root_cause: RootCause | None = None

"""The one MetaData: every table of X-Ray.

Every key carries `trace_id`, so that the same schema can be distributed by it. JSON columns are `json`, not `jsonb`:
the text comes back exactly as it went in (an int stays an int, a double a double), and it costs less to store.
Changing a table means a migration in `migrations/versions/`; a test compares the two.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    Float,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP, UUID
from sqlalchemy.types import UserDefinedType


class JsonText(UserDefinedType[str]):
    """A `json` column whose values stay text on both ways: encoded once, passed through unparsed."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "JSON"


metadata = MetaData()


def _time(name: str, **options: Any) -> Column[Any]:
    return Column(name, TIMESTAMP(timezone=True), **options)


def _now(name: str) -> Column[Any]:
    return _time(name, nullable=False, server_default=func.now())


def _key() -> tuple[Column[Any], Column[Any]]:
    return Column("project_id", Integer, nullable=False), Column("trace_id", LargeBinary, nullable=False)


projects = Table(
    "projects",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("retention_days", Integer),
    _now("created_at"),
)

origins = Table(
    "origins",
    metadata,
    Column("project_id", Integer, nullable=False),
    Column("origin_id", LargeBinary, nullable=False),
    Column("service", Text),
    Column("resource", JsonText, nullable=False),
    Column("scope", JsonText, nullable=False),
    Column("wire", LargeBinary, nullable=False),
    Column("seen_on", Date, nullable=False, server_default=text("CURRENT_DATE")),
    PrimaryKeyConstraint("project_id", "origin_id"),
)

STATUS_RULE = (
    "CASE WHEN root_status = 'error' THEN 'error' "
    "WHEN get_byte(root_order, 0) = 0 OR substr(root_order, 18) = '\\x01' OR settled THEN 'ok' ELSE 'running' END"
)

executions = Table(
    "executions",
    metadata,
    *_key(),
    # Which step names the execution: 1 byte (0: no parent), 8 bytes start_ns, 8 bytes span id. The least wins.
    # One more byte: 1 where its parent is in another process, so that nobody waits for it.
    Column("root_order", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("service", Text),
    Column("root_status", Text, nullable=False),
    Column("settled", Boolean, nullable=False, server_default=text("false")),
    Column("status", Text, Computed(STATUS_RULE, persisted=True), nullable=False),
    _time("started_at", nullable=False),
    _time("ended_at", nullable=False),
    Column("step_count", Integer, nullable=False),
    Column("error_count", Integer, nullable=False),
    # How many steps and records came so far: reasoning names the revision that it read.
    Column("revision", Integer, nullable=False),
    _time("first_received_at", nullable=False),
    _time("last_received_at", nullable=False),
    Column("execution_id", Text),
    # From here on: written when the execution settles, by rules over all of its steps.
    Column("session_id", Text),
    Column("user_id", Text),
    Column("environment", Text),
    Column("tags", ARRAY(Text)),
    Column("models", ARRAY(Text)),
    Column("metadata", JsonText),
    Column("final_outcome", JsonText),
    Column("tokens_input", BigInteger),
    Column("tokens_output", BigInteger),
    Column("tokens_cached", BigInteger),
    Column("tokens_cache_write", BigInteger),
    Column("tokens_reasoning", BigInteger),
    Column("cost_usd", Float),
    Column("prices_at", Date),
    Column("root_missing", Boolean),
    Column("plumbing", Boolean, nullable=False, server_default=text("false")),
    Column("warnings", JsonText),
    PrimaryKeyConstraint("project_id", "trace_id"),
    Index("executions_latest", "project_id", text("started_at DESC"), text("trace_id DESC")),
    Index("executions_service", "project_id", "service", text("started_at DESC"), text("trace_id DESC")),
    Index(
        "executions_errors",
        "project_id",
        text("started_at DESC"),
        text("trace_id DESC"),
        postgresql_where=text("error_count > 0"),
    ),
    Index("executions_own_id", "project_id", "execution_id", postgresql_where=text("execution_id IS NOT NULL")),
    Index("executions_session", "project_id", "session_id", postgresql_where=text("session_id IS NOT NULL")),
    postgresql_with={"fillfactor": "80"},
)

steps = Table(
    "steps",
    metadata,
    *_key(),
    Column("span_id", LargeBinary, nullable=False),
    _time("started_at", nullable=False),
    Column("start_ns", BigInteger, nullable=False),
    Column("duration_ns", BigInteger),
    Column("parent_span_id", LargeBinary),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("span_kind", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_code", Integer, nullable=False),
    Column("status_message", Text),
    Column("error_type", Text),
    Column("error_message", Text),
    Column("error_stacktrace", Text),
    Column("service", Text),
    Column("input", JsonText),
    Column("output", JsonText),
    Column("input_key", Text),
    Column("output_key", Text),
    Column("model", Text),
    Column("provider", Text),
    Column("tool", Text),
    Column("session_id", Text),
    Column("user_id", Text),
    Column("tokens_input", BigInteger),
    Column("tokens_output", BigInteger),
    Column("tokens_cached", BigInteger),
    Column("tokens_cache_write", BigInteger),
    Column("tokens_reasoning", BigInteger),
    Column("cost_usd", Float),
    Column("cost_source", Text),
    Column("extra", JsonText),
    Column("attributes", JsonText, nullable=False),
    Column("events", JsonText),
    Column("links", JsonText),
    Column("origin_id", LargeBinary, nullable=False),
    Column("flags", BigInteger),
    Column("trace_state", Text),
    Column("warnings", JsonText),
    Column("wire", LargeBinary),
    _now("received_at"),
    PrimaryKeyConstraint("project_id", "trace_id", "span_id", "started_at"),
    postgresql_partition_by="RANGE (started_at)",
)

records = Table(
    "records",
    metadata,
    *_key(),
    Column("span_id", LargeBinary, nullable=False),
    Column("record_id", LargeBinary, nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("event_name", Text),
    Column("severity", Integer, nullable=False),
    Column("body", JsonText),
    Column("attributes", JsonText, nullable=False),
    Column("origin_id", LargeBinary, nullable=False),
    Column("warnings", JsonText),
    _now("received_at"),
    PrimaryKeyConstraint("project_id", "trace_id", "span_id", "record_id"),
    Index("records_received", "received_at", postgresql_using="brin"),
)

reasoning_jobs = Table(
    "reasoning_jobs",
    metadata,
    *_key(),
    # Empty: the job of the execution itself. It is the gate: its steps' jobs wait (run_at infinity) until it is due.
    Column("span_id", LargeBinary, nullable=False),
    Column("status", Text, nullable=False, server_default="pending"),
    # Smaller is more urgent.
    Column("priority", SmallInteger, nullable=False, server_default="5"),
    _time("run_at", nullable=False, server_default=text("'infinity'")),
    # The quiet period may move run_at, but never past this.
    _time("settle_by", nullable=False, server_default=text("'infinity'")),
    Column("revision", Integer, nullable=False, server_default="0"),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("snoozes", Integer, nullable=False, server_default="0"),
    Column("forced", Boolean, nullable=False, server_default=text("false")),
    Column("cancel_asked", Boolean, nullable=False, server_default=text("false")),
    Column("lease_token", UUID(as_uuid=True)),
    _time("lease_until"),
    Column("worker", Text),
    # JSON text: [{"at", "attempt", "message"}], the last five, 2 KB each.
    Column("errors", JsonText),
    _now("created_at"),
    _now("changed_at"),
    PrimaryKeyConstraint("project_id", "trace_id", "span_id"),
    CheckConstraint("status IN ('pending', 'processing', 'failed', 'cancelled')", name="reasoning_jobs_status"),
    CheckConstraint("(status = 'processing') = (lease_token IS NOT NULL)", name="reasoning_jobs_lease"),
    Index(
        "reasoning_jobs_due",
        "priority",
        "run_at",
        "trace_id",
        postgresql_where=text("status = 'pending' AND run_at < 'infinity'"),
    ),
    postgresql_with={
        "fillfactor": "70",
        "autovacuum_vacuum_scale_factor": "0.01",
        "autovacuum_vacuum_threshold": "1000",
        "autovacuum_vacuum_cost_delay": "0",
    },
)

reasonings = Table(
    "reasonings",
    metadata,
    *_key(),
    Column("span_id", LargeBinary, nullable=False),
    Column("status", Text, nullable=False, server_default="completed"),
    Column("text", Text),
    Column("facts", JsonText),
    Column("root_cause", JsonText),
    Column("reasoner", Text, nullable=False),
    Column("model", Text),
    Column("prompt_version", Text),
    Column("revision", Integer, nullable=False),
    Column("attempts", SmallInteger, nullable=False),
    Column("tokens_input", BigInteger, nullable=False, server_default="0"),
    Column("tokens_output", BigInteger, nullable=False, server_default="0"),
    Column("cost_usd", Float),
    _now("created_at"),
    PrimaryKeyConstraint("project_id", "trace_id", "span_id"),
    CheckConstraint("status IN ('completed', 'skipped')", name="reasonings_status"),
    Index("reasonings_created", "project_id", text("created_at DESC")),
)

# What a worker runs now: no index holds `lease_until`, so that a beat stays a cheap (HOT) update.
Index(
    "reasoning_jobs_processing",
    reasoning_jobs.c.project_id,
    reasoning_jobs.c.trace_id,
    postgresql_where=text("status = 'processing'"),
)
Index(
    "reasoning_jobs_dead",
    reasoning_jobs.c.project_id,
    reasoning_jobs.c.changed_at,
    postgresql_where=text("status IN ('failed', 'cancelled')"),
)

# What all workers share of a model's provider: the places at its door, and whether the door is open.
provider_slots = Table(
    "provider_slots",
    metadata,
    Column("provider", Text, nullable=False),
    Column("slot", Integer, nullable=False),
    Column("lease_token", UUID(as_uuid=True)),
    _time("lease_until"),
    Column("worker", Text),
    PrimaryKeyConstraint("provider", "slot"),
    postgresql_with={"fillfactor": "50"},
)

provider_states = Table(
    "provider_states",
    metadata,
    Column("provider", Text, primary_key=True),
    _time("closed_until", nullable=False),
    Column("reason", Text, nullable=False),
)

# What was paid to models.
reasoning_spend = Table(
    "reasoning_spend",
    metadata,
    Column("project_id", Integer, nullable=False),
    Column("day", Date, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("cost_usd", Float, nullable=False),
    PrimaryKeyConstraint("project_id", "day"),
    postgresql_with={"fillfactor": "50"},
)

# Answers of models by the hash of what was asked, so that equal work is paid once.
reasoning_answers = Table(
    "reasoning_answers",
    metadata,
    Column("question", LargeBinary, primary_key=True),
    Column("answer", JsonText, nullable=False),
    _now("created_at"),
    Index("reasoning_answers_created", "created_at"),
)

# What each execution gives to the rollups below: whole, so that settling it again replaces it.
step_rollup_parts = Table(
    "step_rollup_parts",
    metadata,
    *_key(),
    Column("revision", Integer, nullable=False),
    # JSON text: a list of `collector.store.rollups.Part`.
    Column("parts", JsonText, nullable=False),
    # What the rollups have of it, where that is not the same.
    Column("folded", JsonText),
    Column("is_pending", Boolean, nullable=False, server_default=text("true")),
    _now("changed_at"),
    PrimaryKeyConstraint("project_id", "trace_id"),
    Index("step_rollup_parts_pending", "project_id", "trace_id", postgresql_where=text("is_pending")),
)

# How steps of one name went in one hour; an empty service stands for none.
step_rollups = Table(
    "step_rollups",
    metadata,
    Column("project_id", Integer, nullable=False),
    Column("service", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    _time("hour", nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("tokens_input", BigInteger, nullable=False),
    Column("tokens_output", BigInteger, nullable=False),
    Column("tokens_cached", BigInteger, nullable=False),
    Column("tokens_reasoning", BigInteger, nullable=False),
    Column("cost_usd", Float, nullable=False),
    # A histogram of durations: bucket b holds those from 2^(b/8) microseconds on.
    Column("buckets", ARRAY(SmallInteger), nullable=False),
    Column("counts", ARRAY(BigInteger), nullable=False),
    PrimaryKeyConstraint("project_id", "service", "name", "kind", "hour"),
    Index("step_rollups_hour", "project_id", "hour"),
    postgresql_with={"fillfactor": "70"},
)

# How far `xray remap` got with one version of the mapping.
remap_runs = Table(
    "remap_runs",
    metadata,
    Column("mapping", Text, nullable=False),
    _time("since", nullable=False),
    Column("project_id", Integer, nullable=False),
    Column("trace_id", LargeBinary, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    _now("changed_at"),
    PrimaryKeyConstraint("mapping", "since"),
)

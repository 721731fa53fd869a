"""The queue of reasoning, its results, and what its workers share of a model's provider and money."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Float,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from collector.store.schema.columns import JsonText, key_columns, metadata, now_column, time_column

reasoning_jobs = Table(
    "reasoning_jobs",
    metadata,
    *key_columns(),
    # Empty: the job of the execution itself. It is the gate: its steps' jobs wait (run_at infinity) until it is due.
    Column("span_id", LargeBinary, nullable=False),
    Column("status", Text, nullable=False, server_default="pending"),
    # Smaller is more urgent.
    Column("priority", SmallInteger, nullable=False, server_default="5"),
    time_column("run_at", nullable=False, server_default=text("'infinity'")),
    # The quiet period may move run_at, but never past this.
    time_column("settle_by", nullable=False, server_default=text("'infinity'")),
    Column("revision", Integer, nullable=False, server_default="0"),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("snoozes", Integer, nullable=False, server_default="0"),
    Column("forced", Boolean, nullable=False, server_default=text("false")),
    Column("cancel_asked", Boolean, nullable=False, server_default=text("false")),
    Column("lease_token", UUID(as_uuid=True)),
    time_column("lease_until"),
    Column("worker", Text),
    # JSON text: [{"at", "attempt", "message"}], the last five, 2 KB each.
    Column("errors", JsonText),
    now_column("created_at"),
    now_column("changed_at"),
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
    *key_columns(),
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
    now_column("created_at"),
    # When its job was made.
    time_column("asked_at"),
    PrimaryKeyConstraint("project_id", "trace_id", "span_id"),
    CheckConstraint("status IN ('completed', 'skipped')", name="reasonings_status"),
    Index("reasonings_asked", "project_id", text("COALESCE(asked_at, created_at) DESC")),
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
    time_column("lease_until"),
    Column("worker", Text),
    PrimaryKeyConstraint("provider", "slot"),
    postgresql_with={"fillfactor": "50"},
)

provider_states = Table(
    "provider_states",
    metadata,
    Column("provider", Text, primary_key=True),
    time_column("closed_until", nullable=False),
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
    now_column("created_at"),
    Index("reasoning_answers_created", "created_at"),
)

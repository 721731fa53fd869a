"""Figures over many executions, built when they settle."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from collector.store.schema.columns import JsonText, key_columns, metadata, now_column, time_column

# What each execution gives to the rollups below: whole, so that settling it again replaces it.
step_rollup_parts = Table(
    "step_rollup_parts",
    metadata,
    *key_columns(),
    Column("revision", Integer, nullable=False),
    # JSON text: a list of `collector.store.rollups.Part`.
    Column("parts", JsonText, nullable=False),
    # What the rollups have of it, where that is not the same.
    Column("folded", JsonText),
    Column("is_pending", Boolean, nullable=False, server_default=text("true")),
    now_column("changed_at"),
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
    time_column("hour", nullable=False),
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

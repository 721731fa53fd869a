"""What long work on all rows remembers."""

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, PrimaryKeyConstraint, Table, Text

from collector.store.schema.columns import metadata, now_column, time_column

# How far `xray remap` got with one version of the mapping.
remap_runs = Table(
    "remap_runs",
    metadata,
    Column("mapping", Text, nullable=False),
    time_column("since", nullable=False),
    Column("project_id", Integer, nullable=False),
    Column("trace_id", LargeBinary, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    now_column("changed_at"),
    PrimaryKeyConstraint("mapping", "since"),
)

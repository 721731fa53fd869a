"""How steps of one name went: hourly sums and log histograms, and what each execution gave to them."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    # What one execution gives: whole, so that settling it again replaces it. `folded` is what the rollups have of it.
    """
    CREATE TABLE step_rollup_parts (
        project_id integer NOT NULL,
        trace_id bytea NOT NULL,
        revision integer NOT NULL,
        parts json NOT NULL,
        folded json,
        is_pending boolean NOT NULL DEFAULT true,
        changed_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (project_id, trace_id)
    )
    """,
    "CREATE INDEX step_rollup_parts_pending ON step_rollup_parts (project_id, trace_id) WHERE is_pending",
    """
    CREATE TABLE step_rollups (
        project_id integer NOT NULL,
        service text NOT NULL,
        name text NOT NULL,
        kind text NOT NULL,
        hour timestamptz NOT NULL,
        count bigint NOT NULL,
        errors bigint NOT NULL,
        tokens_input bigint NOT NULL,
        tokens_output bigint NOT NULL,
        tokens_cached bigint NOT NULL,
        tokens_reasoning bigint NOT NULL,
        cost_usd double precision NOT NULL,
        buckets smallint[] NOT NULL,
        counts bigint[] NOT NULL,
        PRIMARY KEY (project_id, service, name, kind, hour)
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX step_rollups_hour ON step_rollups (project_id, hour)",
)


def upgrade() -> None:
    connection = op.get_bind()
    for statement in STATEMENTS:
        connection.exec_driver_sql(statement)

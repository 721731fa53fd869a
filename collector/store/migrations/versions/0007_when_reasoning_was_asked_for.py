"""A job that is done still says when it was asked for; pages of all jobs are in that order."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Null in what was explained before: when it was asked for is not known any more.
    op.execute("ALTER TABLE reasonings ADD COLUMN asked_at timestamptz")
    op.execute(
        """
        CREATE OR REPLACE VIEW reasoning_ledger AS
        SELECT project_id, trace_id, span_id, status, attempts, priority, run_at,
               errors -> -1 ->> 'message' AS error,
               NULL::text AS model, NULL::text AS reasoner, NULL::bigint AS tokens_input, NULL::bigint AS tokens_output,
               NULL::double precision AS cost_usd, created_at,
               CASE WHEN status IN ('failed', 'cancelled') THEN changed_at END AS finished_at
        FROM reasoning_jobs
        UNION ALL
        SELECT project_id, trace_id, span_id, status, attempts, NULL::smallint, NULL::timestamptz, NULL::text,
               model, reasoner, tokens_input, tokens_output, cost_usd, COALESCE(asked_at, created_at), created_at
        FROM reasonings
        """
    )
    with op.get_context().autocommit_block():
        op.execute(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS reasonings_asked "
            "ON reasonings (project_id, COALESCE(asked_at, created_at) DESC)"
        )
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS reasonings_created")

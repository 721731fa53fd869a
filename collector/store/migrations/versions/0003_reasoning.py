"""A provider's slots and state, spending, remembered answers; leases without an index on what a beat changes."""

from alembic import op

revision = "0003"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    "DROP INDEX reasoning_jobs_leased",
    """
    CREATE INDEX reasoning_jobs_processing ON reasoning_jobs (project_id, trace_id) WHERE status = 'processing'
    """,
    """
    CREATE INDEX reasoning_jobs_dead ON reasoning_jobs (project_id, changed_at)
        WHERE status IN ('failed', 'cancelled')
    """,
    """
    CREATE TABLE provider_slots (
        provider text NOT NULL,
        slot integer NOT NULL,
        lease_token uuid,
        lease_until timestamptz,
        worker text,
        PRIMARY KEY (provider, slot)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE provider_states (
        provider text PRIMARY KEY,
        closed_until timestamptz NOT NULL,
        reason text NOT NULL
    )
    """,
    """
    CREATE TABLE reasoning_spend (
        project_id integer NOT NULL,
        day date NOT NULL,
        calls bigint NOT NULL,
        tokens bigint NOT NULL,
        cost_usd double precision NOT NULL,
        PRIMARY KEY (project_id, day)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE reasoning_answers (
        question bytea PRIMARY KEY,
        answer json NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX reasoning_answers_created ON reasoning_answers (created_at)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)

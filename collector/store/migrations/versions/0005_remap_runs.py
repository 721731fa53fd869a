"""How far `xray remap` got with one version of the mapping."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE remap_runs (
            mapping text NOT NULL,
            since timestamptz NOT NULL,
            project_id integer NOT NULL,
            trace_id bytea NOT NULL,
            done bigint NOT NULL,
            changed bigint NOT NULL,
            changed_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (mapping, since)
        )
        """
    )

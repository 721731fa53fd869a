"""Model prices set by REST; small and read by every process: a reference table, where the others are distributed."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE model_prices (
            name text PRIMARY KEY,
            rates json NOT NULL,
            priced_on date NOT NULL,
            changed_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )

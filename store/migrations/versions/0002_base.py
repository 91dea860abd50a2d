"""A base below the log of edits, the history of collected edits, and the node's events."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the new tables; the log stays as it is, and stands on nothing."""
    op.create_table("base", sa.Column("id", sa.Integer, primary_key=True), sa.Column("body", sa.LargeBinary, nullable=False))
    op.create_table(
        "history",
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("actor", sa.LargeBinary, nullable=False),
        sa.Column("counter", sa.Integer, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("actor", "counter", name="one_past_edit_per_dot"),
    )
    op.create_table(
        "events",
        sa.Column("cursor", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )

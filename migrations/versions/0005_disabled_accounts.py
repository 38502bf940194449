"""Accounts that are disabled: none of their keys is valid, and they get no new one.

A column is added, nothing is taken away. The release before does not know it, so whoever disables an account also
revokes its keys, which both releases know.
"""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("ALTER TABLE users ADD COLUMN disabled_at timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE users DROP COLUMN disabled_at")

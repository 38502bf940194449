"""Keys are found by whose they are: without an index each account that is looked up reads all keys.

An index is added, nothing is taken away: the release before goes on working beside this one. The table is small.
"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("CREATE INDEX api_keys_user ON api_keys (user_id)")


def downgrade() -> None:
    op.execute("DROP INDEX api_keys_user")

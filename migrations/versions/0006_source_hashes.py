"""By which hashes other tools know what was added: an image that names one is compared with what is registered.

Everything is added, nothing is taken away: the release before goes on working beside this one.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

UPGRADE = """
-- Of the file that an addon was made of: its sha256, and that of its tensors alone. Empty: taken in by the release
-- before, or made of a folder.
ALTER TABLE addons ADD COLUMN source_hashes text[] NOT NULL DEFAULT '{}';
"""

DOWNGRADE = """
ALTER TABLE addons DROP COLUMN source_hashes;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)

"""What a claim must know so that a retry goes elsewhere: losses apart from tries, and what did not fit where.

Everything is added, nothing is taken away: the release before goes on working beside this one.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

UPGRADE = """
-- How often a task lost its worker. Its tries are for failures of its own.
ALTER TABLE tasks ADD COLUMN losses integer NOT NULL DEFAULT 0;

-- How many pixels go through the UNet and the VAE at once. NULL: accepted by the release before.
ALTER TABLE counters ADD COLUMN pixels bigint;

-- A failure that is no evidence against its worker: the image was too large for the device, a person has mended
-- what was wrong, or the worker's release cannot read what a newer one accepted.
ALTER TABLE attempts ADD COLUMN is_excused boolean NOT NULL DEFAULT false;

-- The smallest image of a family that did not fit into a worker's memory; the worker by its name, as in exclusions.
CREATE TABLE memory_limits (
    worker_name text NOT NULL CHECK (worker_name <> ''),
    family      text NOT NULL,
    pixels      bigint NOT NULL CHECK (pixels > 0),
    reason      text NOT NULL CHECK (reason <> ''),
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (worker_name, family)
);
"""

DOWNGRADE = """
DROP TABLE memory_limits;
ALTER TABLE attempts DROP COLUMN is_excused;
ALTER TABLE counters DROP COLUMN pixels;
ALTER TABLE tasks DROP COLUMN losses;
"""


def upgrade() -> None:
    op.execute(UPGRADE)


def downgrade() -> None:
    op.execute(DOWNGRADE)

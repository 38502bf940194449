"""What owners are charged: an estimate at each claim; what it leaves them owed, and what the release before knows.

Nothing here can raise, however old the figures are and wherever the clock stepped: one owner whose share
could not be computed would stop the claims of everybody.
"""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

_DECAY_SECONDS = 3600.0
# exp() underflows at 745 times the decay, and a product of small numbers sooner. At 24 times 4e-11 is left.
_FORGOTTEN_SECONDS = 24 * _DECAY_SECONDS
_NEGLIGIBLE_SECONDS = 1e-3

# A mid-range GPU takes about a second for 512x512 pixels and 30 steps. What an image really took is settled later.
_SECONDS_A_PIXEL_STEP = 1.3e-7
_UNKNOWN_SECONDS = 1.0

ESTIMATED_SECONDS = f"coalesce(g.seconds, nullif(g.pixel_steps, 0) * {_SECONDS_A_PIXEL_STEP}, {_UNKNOWN_SECONDS})"
"""SQL for the device seconds that an image of a row `g` of groups, which may be missing, is expected to take."""

_AGE = "extract(epoch FROM now() - u.gpu_seconds_at)::float8"
DECAYED = f"""
    CASE WHEN u.gpu_seconds < {_NEGLIGIBLE_SECONDS} OR {_AGE} > {_FORGOTTEN_SECONDS} THEN 0
         ELSE u.gpu_seconds * exp(-greatest(0, {_AGE}) / {_DECAY_SECONDS}) END"""
"""The share of a row `u` of users now, in SQL: to 37 % in an hour, to nothing in a day."""

WEIGHED_PROJECTS = "(SELECT id FROM projects WHERE weight IS NOT NULL)"
"""SQL for the projects with shares of their own. Work for any other is work for none: anybody may make those."""

_CHARGE = text(
    f"""
    WITH charges AS MATERIALIZED (
        SELECT u.id, c.seconds
        FROM unnest(CAST(:owner_ids AS bigint[]), CAST(:seconds AS float8[])) AS c(owner_id, seconds)
        JOIN users u ON u.id = c.owner_id ORDER BY u.id FOR NO KEY UPDATE OF u
    )
    UPDATE users u SET gpu_seconds = greatest(0, {DECAYED} + c.seconds), gpu_seconds_at = now()
    FROM charges c WHERE u.id = c.id
    """
)
_CHARGE_ACCOUNTS = text(
    """
    INSERT INTO shares (pool, owner_id, project_id, lag, used_seconds)
    SELECT c.pool, c.owner_id, c.project_id, -c.seconds, c.seconds
    FROM unnest(CAST(:pools AS text[]), CAST(:owner_ids AS bigint[]), CAST(:project_ids AS bigint[]),
                CAST(:seconds AS float8[])) AS c(pool, owner_id, project_id, seconds)
    JOIN users u ON u.id = c.owner_id
    ORDER BY c.pool, c.owner_id, c.project_id
    ON CONFLICT (pool, owner_id, project_id) DO UPDATE
    SET lag = shares.lag + excluded.lag, used_seconds = shares.used_seconds + excluded.used_seconds,
        updated_at = now()
    """
)


class Account(NamedTuple):
    """Who is charged where: an owner in a pool, for a project that has a weight or for none."""

    pool: str
    owner_id: int
    project_id: int | None = None


def charge(session: Session, seconds: Mapping[Account, float]) -> None:
    """Charge accounts so many GPU-seconds; a settlement may give some back.

    It lowers what the account is owed. Workers of the release before choose by an owner's share of all pools: what
    is there fades up to now first, and it is never negative.
    """
    if not seconds:
        return
    owners: dict[int, float] = {}
    for account, charged in seconds.items():
        owners[account.owner_id] = owners.get(account.owner_id, 0.0) + charged
    session.execute(_CHARGE, {"owner_ids": list(owners), "seconds": list(owners.values())})
    columns = {
        "pools": [account.pool for account in seconds],
        "owner_ids": [account.owner_id for account in seconds],
        "project_ids": [account.project_id or 0 for account in seconds],
    }
    session.execute(_CHARGE_ACCOUNTS, {**columns, "seconds": list(seconds.values())})

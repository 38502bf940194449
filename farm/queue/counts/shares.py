"""What owners are charged: an estimate at each claim, and what the release before knows of it.

Nothing here can raise, however old the figures are and wherever the clock stepped: one owner whose share
could not be computed would stop the claims of everybody.
"""

from collections.abc import Mapping

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


def charge(session: Session, seconds: Mapping[int, float]) -> None:
    """Add GPU-seconds to the shares of owners, by id, after letting what was there fade up to now.

    Workers of the release before choose by these. A settlement may be negative; a share is not.
    """
    if seconds:
        session.execute(_CHARGE, {"owner_ids": list(seconds), "seconds": list(seconds.values())})

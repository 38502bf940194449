"""The fair share of an owner: GPU-seconds used, which fade with time.

Nothing here can raise, however old the figures are and wherever the clock stepped: one owner whose share
could not be computed would stop the claims of everybody.
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

_DECAY_SECONDS = 3600.0
# exp() underflows at 745 times the decay, and a product of small numbers sooner. At 24 times 4e-11 is left.
_FORGOTTEN_SECONDS = 24 * _DECAY_SECONDS
_NEGLIGIBLE_SECONDS = 1e-3

_AGE = "extract(epoch FROM now() - u.gpu_seconds_at)::float8"
DECAYED = f"""
    CASE WHEN u.gpu_seconds < {_NEGLIGIBLE_SECONDS} OR {_AGE} > {_FORGOTTEN_SECONDS} THEN 0
         ELSE u.gpu_seconds * exp(-greatest(0, {_AGE}) / {_DECAY_SECONDS}) END"""
"""The share of a row `u` of users now, in SQL: to 37 % in an hour, to nothing in a day."""

_CHARGE = text(
    f"""
    UPDATE users u SET gpu_seconds = {DECAYED} + :gpu_seconds, gpu_seconds_at = now()
    WHERE id = (SELECT owner_id FROM jobs WHERE id = :job_id)
    """
)


def charge(session: Session, job_id: int, gpu_seconds: float) -> None:
    """Add GPU-seconds to the share of a job's owner, after letting what was there fade up to now."""
    session.execute(_CHARGE, {"job_id": job_id, "gpu_seconds": gpu_seconds})

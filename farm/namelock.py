"""The lock on a name of weights: two that are alike are not registered side by side."""

import zlib

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from farm.names import plain

# The first number of the advisory locks that are held here; the second is the name's.
_LOCKS = 0x6E616D65


def lock_name(session: Session, name: str) -> None:
    """Hold a name until this transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(_LOCKS, zlib.crc32(plain(name).encode()) - 2**31)))

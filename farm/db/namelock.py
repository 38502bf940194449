"""The lock on a name of weights: two that are alike are not registered side by side."""

import zlib

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from farm.db.locks import Lock
from farm.spec.names import plain


def lock_name(session: Session, name: str) -> None:
    """Hold a name until this transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(Lock.NAME.value, zlib.crc32(plain(name).encode()) - 2**31)))

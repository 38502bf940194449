"""Users and their API keys. A key is shown once; only its sha256 is kept."""

import hashlib
import hmac
import secrets

from sqlalchemy import func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from farm.errors import FieldProblem, InvalidRequest
from farm.models import ApiKey, User

_SECRET_BYTES = 32


def add_user(session: Session, name: str) -> str:
    """Create the user, or take the one of that name, and return a new key: `farm_<prefix>_<secret>`.

    Raises InvalidRequest for a name that cannot be one.
    """
    if not name.strip() or "\x00" in name:
        raise InvalidRequest([FieldProblem("name", "must not be empty")])
    session.execute(upsert(User).values(name=name).on_conflict_do_nothing())
    prefix = secrets.token_hex(4)
    key = f"farm_{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    user_id = select(User.id).where(User.name == name).scalar_subquery()
    session.execute(insert(ApiKey).values(user_id=user_id, prefix=prefix, sha256=_digest(key)))
    return key


def user_of_key(session: Session, key: str) -> str | None:
    """The name of the key's user; None if no valid key reads so.

    The row is found by the prefix, which is no secret; the rest is compared in constant time.
    """
    parts = key.split("_", 2)
    if len(parts) != 3 or "\x00" in key:
        return None
    found = session.scalars(
        select(ApiKey).where(ApiKey.prefix == parts[1], ApiKey.revoked_at.is_(None))
    ).one_or_none()
    if found is None or not hmac.compare_digest(found.sha256, _digest(key)):
        return None
    return found.user.name


def has_accounts(session: Session) -> bool:
    """Whether anybody holds a key that is valid."""
    query = select(func.count()).select_from(ApiKey).where(ApiKey.revoked_at.is_(None))
    return session.execute(query).scalar_one() > 0


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()

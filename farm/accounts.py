"""Users and their API keys. A key is shown once; only its sha256 is kept."""

import hashlib
import hmac
import re
import secrets
import unicodedata
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Update, exists, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from farm.db.tables.accounts import ApiKey, Project, User
from farm.errors import Conflict, InvalidRequest, NotFound
from farm.reports.shapes import AccountReport, ProjectReport

LOCAL_USER = "local"
"""Who uses a portal on loopback: nobody is asked for a key there."""

_SECRET_BYTES = 32

# Letters and digits of any script: a name stands in tables, in logs and on pages, and is typed into commands.
_NAME = re.compile(r"[^\W_][\w.@+-]{0,63}")
_PREFIX = re.compile(r"[0-9a-f]{8}")
_ALIKE = frozenset({"LATIN", "GREEK", "CYRILLIC"})
# What looks like a letter of `local`, from Unicode's confusables: of Cyrillic palochka, o, es, a; of Greek iota,
# omicron, sigma, alpha; Armenian oh; and of Latin dotless i, the letters with a bar, open o and the like.
_LOOKALIKES = str.maketrans(
    {
        **dict.fromkeys("1i|\u0131\u0142\u019a\u0269\u026b\u026d\u04cf\u0456\u03b9\u0399\u01c0", "l"),
        **dict.fromkeys("0\u00f8\u043e\u03bf\u0585\u1d0f", "o"),
        **dict.fromkeys("\u0188\u023c\u0441\u03c2\u03f2\u1d04", "c"),
        **dict.fromkeys("\u0251\u0430\u03b1", "a"),
    }
)


def add_user(session: Session, name: str) -> str:
    """Create the user, or take the one of that name, and return a new key: `farm_<prefix>_<secret>`.

    Raises InvalidRequest for a name that cannot be one; Conflict for a user who is disabled.
    """
    _refuse_local(name)
    found = _user(session, name)
    if found is None:
        session.execute(upsert(User).values(name=_checked(name)).on_conflict_do_nothing())
        found = _known_user(session, _checked(name))
    if found.disabled_at is not None:
        raise Conflict(f"{found.name} is disabled. `farm users enable {found.name}` allows a new key.")
    return _add_key(session, found)


def rotate_keys(session: Session, name: str) -> str:
    """Revoke all keys of the user and return a new one. Raises NotFound; Conflict for a user who is disabled."""
    found = _known_user(session, name)
    session.execute(_revoking().where(ApiKey.user_id == found.id))
    return add_user(session, found.name)


def revoke_key(session: Session, prefix: str) -> str:
    """Make the key with this prefix worthless, and return whose it was.

    Takes a whole key too: a person who found one somewhere has nothing else. Raises NotFound.
    """
    shown = prefix.split("_")[1] if prefix.startswith("farm_") else prefix
    found = session.scalars(select(ApiKey).where(ApiKey.prefix == shown)) if _PREFIX.fullmatch(shown) else None
    key = found and found.one_or_none()
    if not key:
        raise NotFound("There is no such key. `farm users list` shows their beginnings.")
    session.execute(_revoking().where(ApiKey.id == key.id))
    return key.user.name


def disable_user(session: Session, name: str) -> None:
    """Revoke all keys of the user and give out no new one; jobs that were submitted go on.

    Raises NotFound; InvalidRequest for the user who needs none.
    """
    found = _known_user(session, name)
    if found.name == LOCAL_USER:
        raise InvalidRequest.at("name", f"{LOCAL_USER!r} is the user who asks without a key on loopback")
    session.execute(update(User).where(User.id == found.id).values(disabled_at=func.now()))
    session.execute(_revoking().where(ApiKey.user_id == found.id))


def enable_user(session: Session, name: str) -> None:
    """Let the user have keys again; the old ones stay revoked. Raises NotFound."""
    found = _known_user(session, name)
    session.execute(update(User).where(User.id == found.id).values(disabled_at=None))


def set_user_weight(session: Session, name: str, weight: float) -> None:
    """Set the user's part of the devices, relative to others. Raises NotFound."""
    found = _known_user(session, name)
    session.execute(update(User).where(User.id == found.id).values(weight=weight))


def set_project_weight(session: Session, name: str, weight: float | None) -> None:
    """Set the project's part of the devices, relative to others; None makes it a label again. Raises NotFound."""
    statement = update(Project).where(Project.name == name).values(weight=weight).returning(Project.id)
    if "\x00" in name or session.execute(statement).first() is None:
        raise NotFound("There is no such project. `farm projects list` shows them.")


def all_projects(session: Session) -> Sequence[ProjectReport]:
    """All that jobs named, by name."""
    return [
        ProjectReport.model_validate(project) for project in session.scalars(select(Project).order_by(Project.name))
    ]


def all_users(session: Session, beginning: str = "") -> Sequence[AccountReport]:
    """Everybody who has or had a key and whose name begins so, by name, with the beginnings of the valid keys."""
    if "\x00" in beginning:
        return []
    keys = func.array_agg(ApiKey.prefix).filter(ApiKey.revoked_at.is_(None)).label("keys")
    query = select(User.name, User.weight, User.created_at, User.disabled_at, keys).join(ApiKey).group_by(User.id)
    query = query.where(User.name.startswith(unicodedata.normalize("NFC", beginning), autoescape=True))
    return [
        AccountReport(
            name=row.name,
            weight=row.weight,
            created_at=row.created_at,
            disabled_at=row.disabled_at,
            keys=sorted(row.keys or ()),
        )
        for row in session.execute(query.order_by(User.name))
    ]


def user_of_key(session: Session, key: str) -> str | None:
    """The name of the key's user; None if no valid key reads so.

    The row is found by the prefix, which is no secret; the rest is compared in constant time.
    """
    parts = key.split("_", 2)
    if len(parts) != 3 or "\x00" in key:
        return None
    query = select(ApiKey).join(User).where(ApiKey.prefix == parts[1], *_is_valid())
    found = session.scalars(query).one_or_none()
    if found is None or not hmac.compare_digest(found.sha256, _digest(key)):
        return None
    return found.user.name


def has_accounts(session: Session) -> bool:
    """Whether anybody holds a key that is valid."""
    return bool(session.scalar(select(exists(select(ApiKey.id).join(User).where(*_is_valid())))))


def _is_valid() -> tuple[Any, ...]:
    return ApiKey.revoked_at.is_(None), User.disabled_at.is_(None)


def _checked(name: str) -> str:
    """The name as it is kept. Raises InvalidRequest for one that would mislead where it is shown."""
    composed = unicodedata.normalize("NFC", name)
    if not _NAME.fullmatch(composed):
        raise InvalidRequest.at("name", "must be 1 to 64 letters and digits, or . _ @ + - after the first")
    _refuse_mixed_scripts(composed)
    return composed


def _refuse_local(name: str) -> None:
    """No key may stand for who needs none, nor read as if it did. Raises InvalidRequest."""
    if _read_as_latin(name.strip()) == LOCAL_USER:
        message = (
            f"reads as {LOCAL_USER!r}, which means the user who asks without a key on loopback; choose another"
        )
        raise InvalidRequest.at("name", message)


def _refuse_mixed_scripts(name: str) -> None:
    """Greek and Cyrillic have letters that look like Latin ones: no word has both. Raises InvalidRequest."""
    scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in _plain(name) if letter.isalpha()}
    if len(scripts & _ALIKE) > 1:
        message = "mixes letters of Latin, Greek or Cyrillic, which look alike; use those of one script"
        raise InvalidRequest.at("name", message)


def _plain(name: str) -> str:
    """The letters without width, style, case and accents."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(letter))


def _read_as_latin(name: str) -> str:
    """How a name reads to who takes each letter for the Latin one that it looks like."""
    return _plain(_plain(name).translate(_LOOKALIKES))


def _user(session: Session, name: str) -> User | None:
    """The user of that name; earlier releases took any name, and those stay usable."""
    return None if "\x00" in name else session.scalars(select(User).where(User.name == name)).one_or_none()


def _known_user(session: Session, name: str) -> User:
    if found := _user(session, name):
        return found
    raise NotFound("There is no such account. `farm users list` shows them.")


def _add_key(session: Session, user: User) -> str:
    prefix = secrets.token_hex(4)
    key = f"farm_{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    session.execute(insert(ApiKey).values(user_id=user.id, prefix=prefix, sha256=_digest(key)))
    return key


def _revoking() -> Update:
    return update(ApiKey).where(ApiKey.revoked_at.is_(None)).values(revoked_at=func.now())


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()

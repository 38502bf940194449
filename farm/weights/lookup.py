"""Which registered weights a request means by a name: written exactly, or alike, or as the WebUI titles them."""

from collections.abc import Mapping
from typing import Protocol

from farm.spec.digests import SHOWN_DIGITS, shorten_digest
from farm.spec.names import Names, did_you_mean, title_parts

_MOST_NAMED = 20


class Hashed(Protocol):
    """Weights by their hash."""

    @property
    def sha256(self) -> str: ...


class UnknownName(Exception):
    """A name that stands for nothing here, or not for one thing."""


def find_by_name(what: str, name: str, names: Names) -> str | None:
    """The registered name that is meant; None where none is like it. Raises UnknownName for several."""
    alike = names.alike(name)
    if len(alike) > 1:
        raise UnknownName(f"{what} {name!r} may be any of {', '.join(alike)}: write the one that is meant exactly")
    return alike[0] if alike else None


def find_by_title(what: str, title: str, known: Mapping[str, Hashed], names: Names) -> str:
    """The registered name that a title of the WebUI means; a hash in it must be that of the weights.

    A hash alone tells weights, too, where nothing has the name. Raises UnknownName.
    """
    name, digest = title, None
    for name, digest in title_parts(title):
        if found := find_by_name(what, name, names):
            _check_digest(what, found, digest, known)
            return found
    alike = _of_digest(digest, known)
    if not alike:
        raise UnknownName(unknown(what, title, names, meant=name))
    return alike[0]


def _check_digest(what: str, name: str, digest: str | None, known: Mapping[str, Hashed]) -> None:
    if digest is None or known[name].sha256.startswith(digest):
        return
    if len(digest) < SHOWN_DIGITS:
        raise UnknownName(
            f"{what} {name!r}: [{digest}] is a hash as the WebUI made it before 2023, which tells nothing here. "
            "Leave it out"
        )
    twin = _of_digest(digest, known)
    hint = f". What has that hash is called {twin[0]!r} here" if twin else ""
    raise UnknownName(
        f"{name!r} is another {what} here: its hash is {shorten_digest(known[name].sha256)}, not {digest}{hint}"
    )


def _of_digest(digest: str | None, known: Mapping[str, Hashed]) -> list[str]:
    if digest is None or len(digest) < SHOWN_DIGITS:
        return []
    return [name for name, found in known.items() if found.sha256.startswith(digest)]


def unknown(what: str, name: str, names: Names, *, meant: str | None = None) -> str:
    """What to say of a name that nothing is registered under; `meant` is the part of it that names something."""
    if not names.all:
        return f"unknown {what} {name!r}. Known: none yet"
    near = _nearest(meant or name, names)
    hint = did_you_mean(near)
    more = f" and {len(names.all) - _MOST_NAMED} more" if len(names.all) > _MOST_NAMED else ""
    return f"unknown {what} {name!r}.{hint} Known: {', '.join(names.all[:_MOST_NAMED])}{more}"


def _nearest(name: str, names: Names) -> str | None:
    """The registered name that was most likely meant, looked for without folder and suffix first."""
    parts = [part for part, _ in title_parts(name)]
    return next((near for part in reversed(parts) if (near := names.nearest(part))), None)

"""How pages write figures and times."""

from datetime import UTC, datetime

from flask import Flask

from farm.spec.digests import shorten_digest

_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
_SIZES = (("GB", 10**9), ("MB", 10**6), ("KB", 10**3))


def register(app: Flask) -> None:
    app.jinja_env.filters.update(
        ago=ago, duration=duration, moment=moment, count=count, size=size, shorten_digest=shorten_digest
    )
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True


def ago(then: datetime) -> str:
    """How long ago, in one unit: `3 minutes ago`."""
    seconds = (datetime.now(UTC) - then).total_seconds()
    return "just now" if seconds < 5 else f"{duration(seconds)} ago"


def duration(seconds: float) -> str:
    """A length of time in its largest whole unit: `2 hours`."""
    whole = max(0, int(seconds))
    if not whole:
        return "less than a second"
    unit, size = next(((unit, size) for unit, size in _UNITS if whole >= size), ("second", 1))
    return count(whole // size, unit)


def moment(then: datetime) -> str:
    return f"{then:%Y-%m-%d %H:%M} UTC"


def count(number: int, noun: str) -> str:
    """A number with its noun: `1 image`, `2,000 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(number: int) -> str:
    """A number of bytes in its largest unit: `4.3 GB`."""
    for unit, scale in _SIZES:
        if number >= scale:
            return f"{number / scale:.1f} {unit}"
    return f"{number} B"

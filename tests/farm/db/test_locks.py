"""An advisory lock is known by its number alone, to every process on the database."""

import re
from pathlib import Path

from farm.db.locks import Lock

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("farm", "workers", "web", "migrations")
REGISTER = "farm/db/locks.py"


def test_the_locks_are_numbered_as_in_older_releases() -> None:
    """Two releases on one database keep out of each other's way only by equal numbers."""
    assert dict(Lock.__members__) == {
        "MIGRATION": 7214,
        "SWEEP": 7215,
        "GRIDS": 7217,
        "OBJECT": 7216,
        "WEIGHTS": 7218,
        "NAME": 0x6E616D65,
        "PLAN": 7219,
    }


def test_no_two_locks_share_a_number() -> None:
    assert len({lock.value for lock in Lock}) == len(Lock.__members__)


def test_a_lock_is_numbered_in_the_register_alone() -> None:
    numbers = "|".join(str(lock.value) for lock in Lock)
    spelled = re.compile(rf"\b({numbers}|0x6E616D65)\b|advisory\w*\(\s*\d", re.IGNORECASE)
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert [
        place
        for path in modules
        if spelled.search(path.read_text()) and (place := path.relative_to(ROOT).as_posix())
    ] == [REGISTER]

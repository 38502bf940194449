"""What a prompt file holds, entry by entry, before anything is made of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farm.errors import InvalidRequest


@dataclass(frozen=True)
class Entry:
    """One entry of a file: where it began (`line 3`, counted from 1), and what stood there, by the file's names."""

    place: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class UnreadableRow:
    """An entry that does not follow the file's format, and why."""

    place: str
    message: str


Entries = list[Entry | UnreadableRow]


class Misread(InvalidRequest):
    """Fields that no row can be made of."""

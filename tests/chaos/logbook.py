"""What the processes of a farm wrote into their logs, counted."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.null_renderer import RENDERED
from tests.chaos.tampering import RING_LOST

_REFUSED = "Attempt ended: refused, another attempt owns the task."
_SWEPT = "The store was swept."
_HANDED_BACK = "The store is away; a batch is handed back."
_STOPPED = "Attempt ended: its lease was lost before it was stored."


@dataclass(frozen=True)
class Logbook:
    """`duplicates` are renders of images rendered before, `swept` are orphans; `errors` counts by sentence.

    `handed_back` are batches that needed what the store did not give.
    """

    renders: int
    duplicates: int
    refused: int
    lost_rings: int
    handed_back: int
    swept: int
    errors: Counter[str]


def read(folder: Path) -> Logbook:
    entries = list(entries_in(folder))
    events = Counter(entry["event"] for entry in entries)
    seeds = Counter(seed for entry in entries if entry["event"] == RENDERED for seed in entry["seeds"])
    return Logbook(
        renders=seeds.total(),
        duplicates=seeds.total() - len(seeds),
        refused=events[_REFUSED] + events[_STOPPED],
        lost_rings=events[RING_LOST],
        handed_back=events[_HANDED_BACK],
        swept=sum(entry["orphans"] for entry in entries if entry["event"] == _SWEPT),
        errors=Counter(_title(entry) for entry in entries if entry["level"] in ("error", "critical")),
    )


def entries_in(folder: Path) -> Iterator[dict[str, Any]]:
    """The entries of all logs in a folder. A process that was killed may have left half a line."""
    for path in sorted(folder.glob("*.log")):
        for line in path.read_text(errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and "event" in entry:
                yield entry


def _title(entry: dict[str, Any]) -> str:
    last = str(entry.get("exception", "")).strip().splitlines()[-1:]
    return " ".join([str(entry["event"]).splitlines()[0], *last])

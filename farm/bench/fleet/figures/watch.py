"""What a run costs the machine: processor time by part, connections, and what statements wait for."""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from farm.db.connection import Database

_SECONDS = 0.2
_FULL = 0.85
_MACHINE, _CLOCK = "the machine", "the clock"
_TICKS = os.sysconf("SC_CLK_TCK")

_ACTIVITY = text(
    """
    SELECT application_name, state, wait_event_type, wait_event FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    """
)


@dataclass(frozen=True)
class Cost:
    """Of a run: processor seconds by part, over so many seconds on so many cores.

    `waits` counts what active statements were seen to wait for; CPU stands for those that ran. `connections` is the
    most that were open at once, by the name of the program.
    """

    seconds: float
    cores: int
    cpu_seconds: Mapping[str, float]
    waits: Mapping[str, int]
    connections: Mapping[str, int]

    @property
    def binds(self) -> str:
        """What keeps more from being done, in words."""
        used = sum(self.cpu_seconds.values())
        if used >= _FULL * self.seconds * self.cores:
            part, most = max(self.cpu_seconds.items(), key=lambda item: item[1])
            cores = f"{used / self.seconds:.2f} of {self.cores} cores"
            return f"the processor: {cores}, most of it {part} ({most / used:.0%})"
        waits = {name: count for name, count in self.waits.items() if name != "CPU"}
        if not waits:
            return "nothing: neither the processor nor a wait"
        name, count = max(waits.items(), key=lambda item: item[1])
        return f"waits for {name} ({count / sum(self.waits.values()):.0%} of what active statements were seen at)"


class Watch:
    """Looks at Postgres several times a second while the context lasts. `parts` are processes, by what they are."""

    def __init__(self, database: Database, parts: Mapping[str, int]) -> None:
        self._database = database
        self._parts = parts
        self._waits: Counter[str] = Counter()
        self._connections: dict[str, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._used = self._read_cpu()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._used = {name: after - self._used[name] for name, after in self._read_cpu().items()}
        self._over.set()
        self._thread.join()

    def cost(self, devices_cpu_seconds: float) -> Cost:
        """What the run cost, once it is over; the simulated devices count their own processor time."""
        used = dict(self._used)
        seconds, machine = used.pop(_CLOCK), used.pop(_MACHINE)
        other = machine - sum(used.values()) - devices_cpu_seconds
        parts = {**used, "the simulated devices": devices_cpu_seconds, "all other programs": max(0.0, other)}
        return Cost(seconds, os.cpu_count() or 1, parts, dict(self._waits), dict(self._connections))

    def _read_cpu(self) -> dict[str, float]:
        parts = {name: _cpu_seconds(pid) for name, pid in self._parts.items()}
        return {**parts, _MACHINE: _machine_cpu_seconds(), _CLOCK: time.monotonic()}

    def _run(self) -> None:
        while not self._over.wait(_SECONDS):
            with self._database.begin() as session:
                self._note(tuple(row) for row in session.execute(_ACTIVITY))

    def _note(self, rows: Iterable[tuple[str, str | None, str | None, str | None]]) -> None:
        open_now: Counter[str] = Counter()
        for program, state, kind, event in rows:
            open_now[program] += 1
            if state == "active":
                self._waits[f"{kind}/{event}" if kind else "CPU"] += 1
        for program, count in open_now.items():
            self._connections[program] = max(self._connections.get(program, 0), count)


def _cpu_seconds(pid: int) -> float:
    """Of a process with all its children, those that have ended too: from Linux's /proc."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = _read_stat(pid, slice(11, 15))
    return own + sum(_read_stat(int(child), slice(11, 13)) for child in children)


def _read_stat(pid: int, fields: slice) -> float:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return sum(map(int, after_name[fields])) / _TICKS


def _machine_cpu_seconds() -> float:
    """All that was not idle, of all cores."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:8])
    return (user + nice + system + irq + softirq) / _TICKS

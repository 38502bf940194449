"""The workers of a pool as a plan sees them: what each holds, what it renders now, and what it is kept from."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from farm.config import BATCH_SIZES
from farm.dispatch.snapshot import Device, Seat, Serving, WorkClass
from farm.queue.counts.shares import WEIGHED_PROJECTS
from farm.queue.workers import capacity
from farm.queue.workers.capacity import Fitness
from farm.queue.workers.fleet import is_ready_sql, is_up_sql

_USABLE = 0.6
"""The part of a device's memory that weights may take: the rest is for rendering."""
_USUAL_SECONDS = 1.0
"""What an image is taken to need where nothing was measured."""

# A worker that started again has two rows until the older one falls silent: the newer counts.
_DEVICES = text(
    f"""
    SELECT DISTINCT ON (w.name) w.id, w.name, w.host, coalesce(w.device_class, w.device_name) AS device_class,
           coalesce(w.memory_bytes, 0) AS memory_bytes, w.residents, w.cached, w.checkpoint_id,
           w.status, extract(epoch FROM w.free_at)::float8 AS free_at,
           extract(epoch FROM w.last_seen_at)::float8 AS seen_at, {is_ready_sql("w")} AS is_ready
    FROM workers w WHERE w.pool = :pool AND {is_up_sql("w")}
    ORDER BY w.name, w.id DESC
    """
)
# Images that are being delivered are running too: a worker's images are counted by what they belong to.
_RUNNING = text(
    f"""
    SELECT t.worker_id, c.group_id, c.owner_id, p.id AS project_id, c.class, count(*)::integer AS images,
           max(t.id) AS newest
    FROM (
        SELECT id, worker_id, job_id, batch_key FROM tasks
        WHERE status = 'running' AND worker_id IS NOT NULL OFFSET 0
    ) t JOIN counters c USING (job_id, batch_key)
    LEFT JOIN {WEIGHED_PROJECTS} p ON p.id = c.project_id
    WHERE c.pool = :pool AND c.group_id IS NOT NULL
    GROUP BY t.worker_id, c.group_id, c.owner_id, p.id, c.class
    ORDER BY t.worker_id, images DESC, c.group_id, c.owner_id
    """
)
_SEATS = text(
    """
    SELECT s.worker_id, s.group_id, s.owner_id, s.images, s.next_checkpoint_id, s.reason
    FROM seats s JOIN workers w ON w.id = s.worker_id WHERE w.pool = :pool ORDER BY s.worker_id
    """
)


@dataclass(frozen=True)
class Running:
    """How many images of a group and owner a worker has begun and not ended; `newest` is the last task of them."""

    worker: int
    serving: Serving
    newest: int


@dataclass
class Batches:
    """Since when each worker has had its batch, as far as it was seen here: by worker, its newest task and when."""

    _seen: dict[int, tuple[int, float]] = field(default_factory=dict)

    def note(self, running: Iterable[Running], now: float) -> None:
        """Take note of what is running now."""
        newest: dict[int, int] = {}
        for entry in running:
            newest[entry.worker] = max(entry.newest, newest.get(entry.worker, 0))
        # Not later than now: the clock may have been set back since.
        since = {worker: min(at, now) for worker, (task, at) in self._seen.items() if newest.get(worker) == task}
        self._seen = {worker: (task, since.get(worker, now)) for worker, task in newest.items()}

    def began_at(self, worker: int) -> float | None:
        return self._seen[worker][1] if worker in self._seen else None


def read_running(session: Session, pool: str) -> list[Running]:
    """What is running in the pool, by worker: what it has most of first."""
    return [
        Running(
            row.worker_id,
            Serving(row.group_id, row.owner_id, row.project_id, row.images, WorkClass(row._mapping["class"])),
            row.newest,
        )
        for row in session.execute(_RUNNING, {"pool": pool})
    ]


def read_seats(session: Session, pool: str) -> dict[int, Seat]:
    """The seats of the pool as they are stored, by worker."""
    return {row.worker_id: Seat(*row) for row in session.execute(_SEATS, {"pool": pool})}


def read_devices(
    session: Session,
    pool: str,
    *,
    now: float,
    running: Iterable[Running],
    seats: Mapping[int, Seat],
    bytes_by_checkpoint: Mapping[int, int],
    seconds: Mapping[int, float],
    batches: Batches,
) -> list[Device]:
    """The workers of the pool that live, by id. Those out of service are there, and not ready.

    `seconds` are those of an image, by group.
    """
    known = capacity.fitness(session)
    serving: dict[int, Serving] = {}
    for entry in running:
        serving.setdefault(entry.worker, entry.serving)
    kept_from = _KeptFrom(known.out_of_service, _barred(known), _too_large(known))
    largest = max(bytes_by_checkpoint.values(), default=0)
    found = []
    for row in session.execute(_DEVICES, {"pool": pool}):
        work = serving.get(row.id)
        free_at = now
        if row.status == "busy":
            began_at = batches.began_at(row.id)
            lasts = work.images * seconds.get(work.group, _USUAL_SECONDS) if work else _USUAL_SECONDS
            # What it reported may be of the batch before: a heartbeat comes every few seconds.
            is_known = row.free_at is not None and (began_at is None or row.seen_at >= began_at)
            free_at = row.free_at if is_known else (began_at or now) + lasts
        found.append(_device(row, free_at, kept_from, largest, work, seats.get(row.id)))
    return sorted(found, key=lambda device: device.id)


@dataclass(frozen=True)
class _KeptFrom:
    """What workers are kept from, by name: all work, checkpoints, sizes by family."""

    out_of_service: Collection[str]
    barred: Mapping[str, frozenset[int]]
    too_large: Mapping[str, Mapping[str, int]]


def _device(
    row: Row[Any], free_at: float, kept_from: _KeptFrom, largest: int, serving: Serving | None, seat: Seat | None
) -> Device:
    is_busy = row.status == "busy"
    residents = tuple(row.residents) or ((row.checkpoint_id,) if row.checkpoint_id is not None else ())
    return Device(
        id=row.id,
        name=row.name,
        host=row.host,
        class_=row.device_class,
        memory_bytes=row.memory_bytes,
        residents=residents,
        slots=_slots(row.memory_bytes, largest, len(residents)),
        cached=frozenset(row.cached),
        free_at=free_at,
        serving=serving if is_busy else None,
        seat=seat,
        # The worker's own limit binds too, at the claim.
        max_batch=BATCH_SIZES[-1],
        barred=kept_from.barred.get(row.name, frozenset()),
        too_large=kept_from.too_large.get(row.name, MappingProxyType({})),
        is_ready=row.is_ready and row.name not in kept_from.out_of_service,
    )


def _slots(memory_bytes: int, largest: int, held: int) -> int:
    """How many checkpoints fit beside each other, if all are as large as the largest that is wanted."""
    return max(1, held, int(_USABLE * memory_bytes / largest) if largest else 0)


def _barred(known: Fitness) -> Mapping[str, frozenset[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    for name, checkpoint in known.avoided:
        found[name].add(checkpoint)
    return {name: frozenset(checkpoints) for name, checkpoints in found.items()}


def _too_large(known: Fitness) -> Mapping[str, Mapping[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for (name, family), limit in known.limits.items():
        found[name][family] = limit.pixels
    return found

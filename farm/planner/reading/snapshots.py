"""From the database to a snapshot of one pool: a few statements, each over groups, devices or owners."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.db.clock import read_now
from farm.dispatch.policy import Policy
from farm.dispatch.snapshot import Account, Backlog, Carried, Device, Serving, Snapshot
from farm.planner.ledger import AccountKey, Ledger, read_weights
from farm.planner.measuring.learn import Learned
from farm.planner.reading.backlogs import read_backlogs, read_bytes, read_groups
from farm.planner.reading.devices import Batches, Running, read_devices, read_running, read_seats
from farm.queue.workers.fleet import is_up_sql

# What jobs name is not looked at: a pool is any word, and each that is planned takes its time.
_POOLS = text(f"SELECT DISTINCT w.pool FROM workers w WHERE {is_up_sql('w')} ORDER BY w.pool")


@dataclass
class Known:
    """What a leader keeps from round to round beside its ledgers.

    What is measured; the sizes of checkpoints, which never change; by pool, since when each worker has its batch.
    """

    learned: Learned
    bytes_by_checkpoint: dict[int, int] = field(default_factory=dict)
    batches: dict[str, Batches] = field(default_factory=dict)

    def learn_bytes(self, session: Session, checkpoints: Iterable[int]) -> None:
        """Look up the sizes of checkpoints that are new here; they never change."""
        if new := set(checkpoints) - self.bytes_by_checkpoint.keys():
            self.bytes_by_checkpoint |= read_bytes(session, new)


@dataclass(frozen=True)
class Look:
    """A snapshot and the moment of it, with the stored seconds of its groups beside it."""

    snapshot: Snapshot
    now: float
    stored_seconds: Mapping[int, float]


def read_pools(session: Session) -> Sequence[str]:
    """The pools that have a worker: in any other there is nothing to plan."""
    return session.scalars(_POOLS).all()


def read_snapshot(
    session: Session, ledger: Ledger, known: Known, *, policy: Policy, carried: Carried | None = None
) -> Look:
    """All that a plan of the ledger's pool is made of."""
    pool, now = ledger.pool, read_now(session)
    backlogs = read_backlogs(session, pool)
    running = read_running(session, pool)
    seats = read_seats(session, pool)
    ids = {b.group for b in backlogs} | {r.serving.group for r in running} | {s.group for s in seats.values()}
    groups, seconds = read_groups(session, ids)
    checkpoints = {group.checkpoint for group in groups}
    known.learn_bytes(session, checkpoints)
    sizes = {checkpoint: known.bytes_by_checkpoint.get(checkpoint, 0) for checkpoint in checkpoints}
    batches = known.batches.setdefault(pool, Batches())
    batches.note(running, now)
    devices = read_devices(
        session,
        pool,
        now=now,
        running=running,
        seats=seats,
        bytes_by_checkpoint=sizes,
        seconds=seconds,
        batches=batches,
    )
    snapshot = Snapshot(
        pool=pool,
        groups=tuple(groups),
        backlogs=tuple(backlogs),
        devices=tuple(devices),
        accounts=tuple(_accounts(session, ledger, backlogs, running, devices)),
        speeds=known.learned.speeds(groups, {device.class_ for device in devices}),
        loads=known.learned.loads(sizes),
        policy=policy,
        carried=carried or Carried(),
    )
    return Look(snapshot, now, seconds)


def _accounts(
    session: Session,
    ledger: Ledger,
    backlogs: Iterable[Backlog],
    running: Iterable[Running],
    devices: Iterable[Device],
) -> list[Account]:
    """Who waits, is served or is owed something, by owner and project."""
    in_flight = {(entry.serving.owner, entry.serving.project) for entry in running}
    at_work = _devices_at_work(running, devices)
    keys = {(b.owner, b.project) for b in backlogs} | in_flight | ledger.open_keys()
    weights = read_weights(session, {key[0] for key in keys}, {key[1] for key in keys if key[1] is not None})
    return [
        Account(
            owner=owner,
            project=project,
            weight=weights.users.get(owner, 1.0),
            project_weight=1.0 if project is None else weights.projects.get(project, 1.0),
            lag=ledger.lag((owner, project)),
            running_devices=at_work.get((owner, project), 0.0),
        )
        for owner, project in sorted(keys, key=lambda key: (key[0], key[1] or 0))
    ]


def _devices_at_work(running: Iterable[Running], devices: Iterable[Device]) -> Mapping[AccountKey, float]:
    """By account, how many devices render for it: each has its part of a batch that is of several."""
    busy = {device.id for device in devices if device.serving}
    by_worker: dict[int, list[Serving]] = defaultdict(list)
    for entry in running:
        if entry.worker in busy:
            by_worker[entry.worker].append(entry.serving)
    at_work: dict[AccountKey, float] = defaultdict(float)
    for served in by_worker.values():
        images = sum(serving.images for serving in served)
        for serving in served:
            at_work[serving.owner, serving.project] += serving.images / images
    return at_work

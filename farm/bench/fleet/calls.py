"""All that simulated devices and their bench ask of the farm: the very calls of a worker and of the intake.

The one module that follows when those change.
"""

import random
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from farm.accounts import LOCAL_USER
from farm.bench.fleet.options import POOL
from farm.bench.fleet.work import PlannedJob, image_cost
from farm.config import Settings
from farm.db.connection import Database, Role
from farm.errors import Raced
from farm.intake.attach import AttachedRequest
from farm.intake.library import KnownCheckpoint
from farm.intake.repeats import Identity
from farm.intake.request import parse_request
from farm.intake.rows import NewJob, insert_job
from farm.intake.unfold import Unfolded
from farm.queue import claim as dispatch
from farm.queue import endings, leases, losses
from farm.queue.claimed import Lease
from farm.queue.results import Finished, StoredObject
from farm.queue.workers import fleet
from farm.queue.workers.fleet import DeviceReport, WorkerIdentity
from farm.spec.image import TextToImageSpec, batch_key

_DEVICE_CLASS, _MEMORY_BYTES = "simulated", 24 * 10**9

# As a worker does.
_MOST_RACES = 8
_RACE_PAUSE_SECONDS = 0.002, 0.02

CONNECTIONS_OF_A_DEVICE = 2
"""What a real worker holds at most: one for its heartbeat, one for all else."""


@dataclass(frozen=True)
class ClaimedWork:
    """A claimed batch. `cost` is its device time, in images of 512 x 512 pixels."""

    checkpoint_id: int
    leases: tuple[Lease, ...]
    cost: float


@dataclass(frozen=True)
class ClaimAnswer:
    """What a claim brought, None for nothing, and how often other claims were faster meanwhile."""

    work: ClaimedWork | None
    races: int = 0


class _Connections(threading.local):
    """The databases of a thread, each with the one connection that a worker has for it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._databases: dict[Role, Database] = {}

    def of(self, role: Role) -> Database:
        if role not in self._databases:
            self._databases[role] = Database.of(self._settings, role)
        return self._databases[role]

    def close(self) -> None:
        for database in self._databases.values():
            database.close()
        self._databases.clear()


class WorkerCalls:
    """What workers ask, for all the devices of a process.

    Each thread has connections of its own, and ends them by `close`.
    """

    def __init__(self, settings: Settings, batch: int) -> None:
        self._settings = settings
        self._batch = batch
        self._connections = _Connections(settings)

    @property
    def heartbeat_seconds(self) -> float:
        return self._settings.heartbeat_seconds

    @property
    def poll_seconds(self) -> float:
        return self._settings.poll_seconds

    def register(self, numbers: Sequence[int]) -> list[int]:
        """Enter the devices with these numbers, eight to a host; return the ids of their workers."""
        with self._connections.of(Role.WORKER).begin() as session:
            return [fleet.register(session, _identify(number)) for number in numbers]

    def retire(self, worker_ids: Sequence[int]) -> None:
        """The devices are gone: nothing is left to them."""
        with self._connections.of(Role.WORKER).begin() as session:
            for worker_id in worker_ids:
                fleet.retire(session, worker_id, "the measurement is over")

    def beat(
        self, worker_id: int, held: Collection[Lease], residents: Sequence[int], busy_seconds: float | None
    ) -> set[Lease]:
        """One heartbeat, as a worker's: report the state and renew, in a transaction; return what is still held.

        What is overlooked goes back in another one.
        `busy_seconds` is how long the device renders from now on, None where it idles.
        """
        lease_seconds = self._settings.lease_seconds
        status = "idle" if busy_seconds is None else "busy"
        resident = residents[0] if residents else None
        report = DeviceReport(_DEVICE_CLASS, _MEMORY_BYTES, residents, (), busy_seconds)
        with self._connections.of(Role.HEARTBEAT).begin() as session:
            fleet.beat(session, worker_id, status, resident, lease_seconds=lease_seconds, device=report)
            running = leases.running(session, worker_id)
        if overlooked := running - {lease.key for lease in held}:
            with self._connections.of(Role.HEARTBEAT).begin() as session:
                losses.return_overlooked(session, worker_id, overlooked, lease_seconds)
        return leases.still_held(held, running)

    def claim(
        self, worker_id: int, residents: Sequence[int], preferred: Sequence[int], polls: int = 0
    ) -> ClaimAnswer:
        """Claim the next batch, again and again where others are faster, as a worker does.

        `polls` is how often the device found nothing and was not rung.
        """
        by_seat_alone = polls % dispatch.POLLS_A_LOOK != 0
        without: frozenset[int] = frozenset()
        for races in range(_MOST_RACES):
            try:
                work = self._claim_once(worker_id, residents, preferred, without, by_seat_alone)
            except Raced as raced:
                without |= raced.jobs
                if raced.jobs:
                    continue
            else:
                if work or not without:
                    return ClaimAnswer(work, races)
                without = frozenset()
            time.sleep(random.uniform(*_RACE_PAUSE_SECONDS))
        return ClaimAnswer(None, _MOST_RACES)

    def _claim_once(
        self,
        worker_id: int,
        residents: Sequence[int],
        preferred: Sequence[int],
        without: Collection[int],
        by_seat_alone: bool,
    ) -> ClaimedWork | None:
        with self._connections.of(Role.WORKER).begin() as session:
            batch = dispatch.claim(
                session,
                worker_id,
                pool=POOL,
                limit=self._batch,
                lease_seconds=self._settings.lease_seconds,
                residents=residents,
                preferred=preferred,
                without_jobs=without,
                by_seat_alone=by_seat_alone,
            )
        if batch is None:
            return None
        return ClaimedWork(batch.checkpoint.id, batch.leases, sum(map(_cost, batch.leases)))

    def publish(self, work: ClaimedWork, *, load_seconds: float, render_seconds: float) -> int:
        """Publish a rendered batch; return how many of its images were, the others being lost."""
        seconds = (load_seconds + render_seconds) / len(work.leases)
        timings = {"load": load_seconds, "render": render_seconds}
        finished = [_finish(lease, timings, seconds, bucket=len(work.leases)) for lease in work.leases]
        while True:
            with self._connections.of(Role.WORKER).begin() as session:
                done = endings.publish_all(session, finished)
            if not done.left:
                return len(done.published)
            time.sleep(random.uniform(*_RACE_PAUSE_SECONDS))

    def close(self) -> None:
        """End this thread's connections."""
        self._connections.close()


def submit(
    database: Database, job: PlannedJob, checkpoints: Sequence[KnownCheckpoint], *, attempt_limit: int
) -> int:
    """Accept one job with all its tasks, as the portal does once it has unfolded a request; return its id."""
    checkpoint = checkpoints[job.checkpoint]
    body = {
        "checkpoint": checkpoint.name,
        "prompts": ["a lighthouse on a cliff, oil on canvas"],
        "images_per_prompt": job.images,
        "width": job.width,
        "height": job.height,
        "seed": 1,
        "pool": POOL,
        "priority": job.priority,
        "num_inference_steps": job.steps,
        **_CLASS_FIELDS[job.work_class],
    }
    request = parse_request(body)
    spec = TextToImageSpec(
        checkpoint=checkpoint.name,
        prompt=request.prompts[0].prompt,
        width=job.width,
        height=job.height,
        num_inference_steps=job.steps,
        seed=1,
    )
    key = batch_key(spec, checkpoint.sha256, checkpoint.family.name)
    group = Unfolded(spec, checkpoint, key, range(1, 1 + job.images), row=0)
    identity = Identity(owner_name(job.owner), None, request.fingerprint)
    with database.begin() as session:
        new = NewJob(identity, AttachedRequest(request, frozenset()), [group], ())
        job_id = insert_job(session, new, attempt_limit=attempt_limit)
    assert job_id is not None, "without a key no job repeats another"
    return job_id


# Nobody is to miss it while this runs.
_CLASS_FIELDS: Mapping[str, Mapping[str, str]] = {
    "interactive": {"class": "interactive"},
    "deadline": {"deadline": f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}"},
    "bulk": {"class": "bulk"},
}


def owner_name(number: int) -> str:
    return f"{LOCAL_USER}-{number}"


def _identify(number: int) -> WorkerIdentity:
    host, device = divmod(number, 8)
    return WorkerIdentity(f"host-{host}", 1 + number, f"cuda-{device}", "simulated device", POOL)


def _cost(lease: Lease) -> float:
    assert isinstance(lease.spec, TextToImageSpec), "the bench submits no other mode"
    return image_cost(lease.spec.width, lease.spec.height)


def _finish(lease: Lease, timings: Mapping[str, float], seconds: float, *, bucket: int) -> Finished:
    image, thumbnail = _object("result", lease), _object("thumbnail", lease)
    return Finished(lease, image, thumbnail, {"bucket": bucket}, timings, seconds)


def _object(role: str, lease: Lease) -> StoredObject:
    """What an upload would have left: nobody looks for it."""
    key = f"{role}/{lease.task_id}-{lease.attempt}.png"
    return StoredObject(role, key, "b" * 64, 100, "image/png", 512, 512)

"""Ready-made jobs, workers and objects for tests; each takes only what a test wants to differ."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Select, insert, select, text, update
from sqlalchemy.orm import Session, undefer

from farm.config import Settings
from farm.db.connection import Database
from farm.db.tables.accounts import User
from farm.db.tables.jobs import Job, Task, line_counts
from farm.db.tables.schema import METADATA
from farm.db.tables.workers import Worker
from farm.errors import Raced
from farm.intake import submit
from farm.intake.library import KnownCheckpoint, Library
from farm.intake.repeats import AcceptedJob
from farm.intake.request import JobRequest, parse_request
from farm.pictures.uploads import Desk
from farm.queue import claim as dispatch
from farm.queue import endings, leases, losses, steering
from farm.queue.claim import Batch, ClaimedCheckpoint
from farm.queue.claimed import AttemptKey, Lease
from farm.queue.counts import deltas
from farm.queue.counts.deltas import Folded
from farm.queue.doorbell import Doorbell
from farm.queue.offers import corrections
from farm.queue.results import Finished, StoredObject
from farm.queue.workers import exclusions, fleet
from farm.queue.workers.fleet import WorkerIdentity
from farm.spec.families import FAMILIES
from farm.spec.image import TextToImageSpec
from farm.store.protocol import Store
from farm.weights import addons, checkpoints
from farm.weights.addons import StoredAddon
from farm.weights.blobs import StoredFile
from farm.weights.checkpoints import StoredCheckpoint
from farm.weights.folder import CheckpointFolder
from tests.fakes import MemoryStore

LEASE_SECONDS = 30.0


LIBRARY = Library({"demo": KnownCheckpoint(1, "demo", FAMILIES["sd15"], "a" * 64)})
"""A library that knows the checkpoint `demo` and nothing else."""


def a_request(**fields: Any) -> JobRequest:
    return parse_request({"prompts": ["a lighthouse"], "seed": 1, "checkpoint": "demo", **fields})


def a_spec(**fields: Any) -> TextToImageSpec:
    return TextToImageSpec(**{"checkpoint": "demo", "prompt": "a lighthouse", "seed": 1, **fields})


def a_checkpoint(database: Database, name: str = "demo", sha256: str = "a" * 64) -> int:
    """Register a checkpoint that has a row but no files; return its id."""
    with database.begin() as session:
        return checkpoints.add(
            session, name, CheckpointFolder(path=Path(f"/nowhere/{name}"), family="sd15", sha256=sha256)
        ).id


def a_stored_checkpoint(
    database: Database, store: Store, contents: Mapping[str, bytes], name: str = "demo"
) -> ClaimedCheckpoint:
    """Register a checkpoint whose files lie in the store; return it as a claim names it."""
    files = stored_files(store, contents)
    sha256 = hashlib.sha256(repr(files).encode()).hexdigest()
    with database.begin() as session:
        row = checkpoints.add(session, name, StoredCheckpoint("sd15", sha256, files))
    return ClaimedCheckpoint(row.id, name, "sd15", sha256, row.location, files)


def stored_files(store: Store, contents: Mapping[str, bytes]) -> tuple[StoredFile, ...]:
    """Put files of weights into a store, by their paths."""
    files = tuple(
        StoredFile(path, hashlib.sha256(content).hexdigest(), len(content))
        for path, content in sorted(contents.items())
    )
    for file in files:
        store.put(file.key, contents[file.path], "application/octet-stream")
    return files


def an_addon(database: Database, store: Store, kind: addons.AddonKind, name: str, content: bytes) -> str:
    """Register an addon whose file lies in the store; return its sha256."""
    [file] = stored_files(store, {name: content})
    with database.begin() as session:
        addons.add(session, kind, name, StoredAddon("sd15", file.sha256, file.size))
    return file.sha256


def a_job(
    database: Database, settings: Settings, doorbell: Doorbell, *, owner: str = "local", **fields: Any
) -> AcceptedJob:
    """Submit a job; the checkpoint `demo` is registered if it is not yet."""
    a_checkpoint(database)
    return accept(database, settings, doorbell, a_request(**fields), owner=owner)


def accept(
    database: Database,
    settings: Settings,
    doorbell: Doorbell,
    request: JobRequest,
    *,
    owner: str = "local",
    key: str | None = None,
) -> AcceptedJob:
    """Have a request accepted that brings no pictures."""
    desk = Desk(database, MemoryStore(), settings, owner)
    return submit.accept(desk, doorbell, request, idempotency_key=key)


def a_worker(database: Database, device: str = "cpu", pool: str = "default", status: str = "idle") -> int:
    """Register a live worker that has said so much of itself; return its id."""
    identity = WorkerIdentity(host="host", pid=1, device=device, device_name="test device", pool=pool)
    with database.begin() as session:
        worker_id = fleet.register(session, identity)
        if status != "starting":
            fleet.beat(session, worker_id, status, None)
    return worker_id


def claim(database: Database, worker_id: int, *, limit: int = 8, **options: Any) -> Batch | None:
    """The batch a worker gets next; None if there is none, or others hold all there is."""
    options = {"pool": "default", "lease_seconds": LEASE_SECONDS, **options}
    with suppress(Raced), database.begin() as session:
        return dispatch.claim(session, worker_id, limit=limit, **options)
    return None


def publish(database: Database, lease: Lease, *, relief: Sequence[str] = ()) -> bool:
    """Publish an attempt as if its image had been uploaded."""
    return lease.key in publish_all(database, [a_finished(lease, relief=relief)])


def publish_all(database: Database, finished: Sequence[Finished]) -> set[AttemptKey]:
    """Publish images, as a worker does: what others lock at the moment is tried again."""
    for _ in range(1000):
        with database.begin() as session:
            done = endings.publish_all(session, finished)
        if not done.left:
            return done.published
        time.sleep(0.02)
    raise AssertionError("Others lock these tasks for good.")


def a_finished(lease: Lease, **fields: Any) -> Finished:
    """An attempt as if its image had been uploaded."""
    objects = {role: an_object(kind, lease) for role, kind in (("image", "result"), ("thumbnail", "thumbnail"))}
    facts = {"provenance": {"bucket": 1}, "timings": {"render": 0.5}, "gpu_seconds": 0.5}
    return Finished(lease, **{**objects, **facts, **fields})


def an_object(role: str, lease: Lease) -> StoredObject:
    return StoredObject(
        role=role,
        key=f"{role}/{lease.task_id}-{lease.attempt}.png",
        sha256="b" * 64,
        size_bytes=100,
        media_type="image/png",
        width=64,
        height=64,
    )


def a_user(database: Database, name: str, gpu_seconds: float = 0) -> None:
    """Register a user who has used the GPUs for so long just now."""
    with database.begin() as session:
        session.execute(insert(User).values(name=name, gpu_seconds=gpu_seconds))


def explain(session: Session, query: Select[Any] | str) -> str:
    """How Postgres would carry out a query."""
    if not isinstance(query, str):
        query = str(query.compile(session.get_bind().engine, compile_kwargs={"literal_binds": True}))
    return "\n".join(session.connection().exec_driver_sql(f"EXPLAIN {query}").scalars())


def many_lines(scene: "Scene", jobs: int = 10_000, deltas: int = 1_000) -> None:
    """A farm with very many jobs of a line each, most of them done, and with deltas of some."""
    job_id = scene.submit(images_per_prompt=2)
    scene.execute(
        "INSERT INTO jobs (owner_id, name, mode, request, status, priority, pool, request_sha256, finished_at) "
        "SELECT owner_id, name, mode, request, 'succeeded', priority, pool, request_sha256, now() "
        "FROM jobs, generate_series(1, :jobs) WHERE id = :id",
        jobs=jobs,
        id=job_id,
    )
    scene.execute(
        "INSERT INTO counters (job_id, batch_key, owner_id, checkpoint_id, pool, priority, is_open, succeeded) "
        "SELECT j.id, batch_key, c.owner_id, checkpoint_id, c.pool, c.priority, true, 100 "
        "FROM counters c, jobs j WHERE c.job_id = :id AND j.id <> :id",
        id=job_id,
    )
    scene.execute(
        "INSERT INTO deltas (job_id, batch_key, charged_seconds) "
        "SELECT job_id, batch_key, 1 FROM counters LIMIT :n",
        n=deltas,
    )
    scene.execute("ANALYZE jobs, counters, deltas, tasks")


def a_year_of_workers(scene: "Scene", count: int = 10_000) -> None:
    """One worker that lives, and very many that went long ago."""
    scene.worker()
    scene.execute(
        "INSERT INTO workers (name, host, pid, device, device_name, pool, status, version, last_seen_at) "
        "SELECT 'gone-' || n % 100, 'host', 1, 'cuda:0', 'device', 'default', 'offline', '0', "
        "now() - make_interval(days => 8) FROM generate_series(1, :count) n",
        count=count,
    )
    scene.execute("ANALYZE workers")


STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Scene:
    """A farm at work: each method lets one thing happen, or looks at what became of it."""

    database: Database
    settings: Settings
    doorbell: Doorbell
    _planned: set[str] = field(default_factory=set)

    def submit(self, *, owner: str = "local", **fields: Any) -> int:
        """Submit a job; return its id."""
        return a_job(self.database, self.settings, self.doorbell, owner=owner, **fields).job_id

    def worker(self, device: str = "cpu", pool: str = "default", status: str = "idle") -> int:
        return a_worker(self.database, device, pool, status)

    def trouble(self, worker_id: int, what: str = "it cannot claim work") -> None:
        """The worker says that something keeps it from work."""
        with self.database.begin() as session:
            fleet.beat(session, worker_id, "idle", None, what)

    def claim(self, worker_id: int, *, limit: int = 8, **options: Any) -> tuple[Lease, ...]:
        """The leases of the batch a worker gets next; empty if there is none."""
        self.plan_again()
        batch = claim(self.database, worker_id, limit=limit, **options)
        return batch.leases if batch else ()

    def publish(self, lease: Lease, *, relief: Sequence[str] = ()) -> bool:
        return publish(self.database, lease, relief=relief)

    def publish_all(self, *leases: Lease) -> set[AttemptKey]:
        """Attempts are published together; those that were are returned."""
        return publish_all(self.database, [a_finished(lease) for lease in leases])

    def fail(
        self,
        lease: Lease,
        error: str = "the device broke",
        *,
        is_retryable: bool = True,
        relief: Sequence[str] = (),
    ) -> bool:
        with self.database.begin() as session:
            return endings.fail(session, lease, error, is_retryable=is_retryable, relief=relief)

    def fail_for_memory(self, lease: Lease, error: str = "it does not fit") -> bool:
        with self.database.begin() as session:
            return endings.fail_for_memory(session, lease, error)

    def hand_back(self, *leases: Lease, reason: str = "draining") -> None:
        with self.database.begin() as session:
            endings.hand_back(session, leases, reason)

    def renew(self, worker_id: int, *held: Lease) -> set[Lease]:
        """A heartbeat, as a worker's: what it runs by the record and does not hold goes back after the renewal."""
        with self.database.begin() as session:
            kept = leases.renew(session, worker_id, held, LEASE_SECONDS)
            overlooked = leases.running(session, worker_id) - {lease.key for lease in held}
        with self.database.begin() as session:
            losses.return_overlooked(session, worker_id, overlooked, LEASE_SECONDS)
        return kept

    def release_dead(self, worker_id: int, error: str = "killed by signal 9", **evidence: Any) -> int:
        with self.database.begin() as session:
            return losses.release_dead(session, worker_id, error, **evidence)

    def let_leases_end(self, *held: Lease) -> None:
        """Time passes: these attempts are held no more, whatever else their workers hold."""
        with self.database.begin() as session:
            past = text("now() - interval '1 second'")
            session.execute(update(Task).where(Task.id.in_([x.task_id for x in held])).values(lease_until=past))

    def let_lease_end_of(self, worker_id: int) -> None:
        """Time passes without a word of the worker: its lease, and so all that it holds, lies in the past."""
        with self.database.begin() as session:
            past = text("now() - interval '1 second'")
            session.execute(update(Worker).where(Worker.id == worker_id).values(lease_until=past))

    def let_jobs_begin(self) -> None:
        """Time passes: the `not_before` of every job has come, and a keeper has seen to it."""
        with self.database.begin() as session:
            for table in ("jobs", "counters"):
                session.execute(text(f"UPDATE {table} SET not_before = now() WHERE not_before IS NOT NULL"))
            corrections.wake_lines(session)

    def set_turn(self, owner: str, turn: float) -> None:
        """Whose turn it is, where no plan decides: the lowest is next."""
        self.execute(
            "UPDATE queues SET turn = :turn WHERE owner_id = (SELECT id FROM users WHERE name = :owner)",
            turn=turn,
            owner=owner,
        )

    def owe(self, owner: str, lag: float) -> None:
        """An owner is owed so many GPU-seconds, and their turn says it."""
        self.execute(
            "INSERT INTO shares (pool, owner_id, lag) SELECT 'default', id, :lag FROM users WHERE name = :owner "
            "ON CONFLICT (pool, owner_id, project_id) DO UPDATE SET lag = :lag",
            owner=owner,
            lag=lag,
        )
        self.set_turn(owner, -lag)

    def plan(self, pool: str = "default") -> None:
        """A leader plans the pool, and goes on: however long a test takes, each claim finds a fresh plan."""
        self._planned.add(pool)
        self.plan_again()

    def plan_again(self) -> None:
        """What a leader does each second."""
        for pool in self._planned:
            self.execute(
                "INSERT INTO plans (pool) VALUES (:pool) ON CONFLICT (pool) DO UPDATE SET planned_at = now()",
                pool=pool,
            )

    def let_plans_age(self, age: str = "1 hour") -> None:
        """The leader is gone for so long; or, by less than nothing, the clock was set back since its last plan."""
        self._planned.clear()
        self.execute("UPDATE plans SET planned_at = now() - CAST(:age AS interval)", age=age)

    def seat(
        self,
        worker_id: int,
        job_id: int,
        *,
        images: int = 8,
        batch_key: str | None = None,
        owner: str | None = None,
    ) -> None:
        """The plan of the job's pool seats the worker on its group; for its owner, where no other is named."""
        self.plan(str(self.scalar("SELECT pool FROM jobs WHERE id = :job_id", job_id=job_id)))
        self.execute(
            "INSERT INTO seats (worker_id, group_id, owner_id, images, reason) "
            "SELECT :worker_id, group_id, coalesce((SELECT id FROM users WHERE name = :owner), owner_id), :images, "
            "'for a test' FROM counters WHERE job_id = :job_id AND batch_key = coalesce(:batch_key, batch_key) "
            "ORDER BY batch_key LIMIT 1 ON CONFLICT (worker_id) DO UPDATE "
            "SET group_id = excluded.group_id, owner_id = excluded.owner_id, images = excluded.images",
            worker_id=worker_id,
            job_id=job_id,
            images=images,
            batch_key=batch_key,
            owner=owner,
        )

    def make_old(self, seconds: int = 3600) -> None:
        """Time passes: all lines are ready for so long."""
        self.execute("UPDATE counters SET ready_at = now() - make_interval(secs => :seconds)", seconds=seconds)

    def priority(self, job_id: int, priority: int) -> None:
        steering.set_priority(self.database, job_id, priority)

    def let_days_pass(self, days: int) -> None:
        """Time passes: all that was recorded is so many days older."""
        columns = {"events": ["created_at"], "attempts": ["ended_at"], "jobs": ["created_at", "finished_at"]}
        with self.database.begin() as session:
            for table, names in columns.items():
                older = ", ".join(f"{name} = {name} - make_interval(days => :days)" for name in names)
                session.execute(text(f"UPDATE {table} SET {older}"), {"days": days})

    def let_deadline_pass(self, job_id: int) -> None:
        """Time passes: the job is past its deadline."""
        with self.database.begin() as session:
            past = text("now() - interval '1 second'")
            session.execute(update(Job).where(Job.id == job_id).values(deadline=past))

    def expire(self) -> int:
        with self.database.begin() as session:
            return losses.expire(session)

    def lose(self, worker_id: int) -> tuple[Lease, ...]:
        """A worker claims one task and is never heard of again."""
        leases = self.claim(worker_id, limit=1)
        self.let_leases_end(*leases)
        self.expire()
        return leases

    def break_down(self, worker_id: int, *, batches: int, owners: Sequence[str] = ("local",)) -> None:
        """A worker takes so many jobs of these owners in turn, and fails them all."""
        for number in range(batches):
            self.submit(owner=owners[number % len(owners)])
            for lease in self.claim(worker_id):
                self.fail(lease, is_retryable=False)

    def drain(self, worker_name: str = "host/cpu", reason: str = "drained by ana") -> None:
        with self.database.begin() as session:
            exclusions.drain(session, worker_name, reason)

    def avoid(self, worker_name: str, checkpoint_id: int, reason: str = "its weights are torn there") -> bool:
        with self.database.begin() as session:
            return exclusions.avoid(session, worker_name, checkpoint_id, reason)

    def restore(self, worker_name: str = "host/cpu", checkpoint_name: str | None = None) -> None:
        with self.database.begin() as session:
            exclusions.restore(session, worker_name, checkpoint_name)

    def excluded(self) -> list[tuple[str, str | None]]:
        """Which worker is kept from what: a checkpoint, or None for all work."""
        with self.database.begin() as session:
            found = exclusions.in_force(session)
            return [(x.worker_name, x.checkpoint.name if x.checkpoint else None) for x in found]

    def job(self, job_id: int) -> Job:
        with self.database.begin() as session:
            return session.get_one(Job, job_id, options=[undefer(Job.request)])

    def tasks(self, job_id: int) -> Sequence[Task]:
        """The job's tasks in their order."""
        with self.database.begin() as session:
            return session.scalars(select(Task).where(Task.job_id == job_id).order_by(Task.seq)).all()

    def statuses(self, job_id: int) -> list[str]:
        return [task.status for task in self.tasks(job_id)]

    def scalar(self, sql: str, **parameters: Any) -> Any:
        with self.database.begin() as session:
            return session.execute(text(sql), parameters).scalar()

    def execute(self, sql: str, **parameters: Any) -> None:
        with self.database.begin() as session:
            session.execute(text(sql), parameters)

    def column(self, sql: str, **parameters: Any) -> list[Any]:
        with self.database.begin() as session:
            return list(session.execute(text(sql), parameters).scalars())

    def counters(self) -> dict[tuple[int, str], tuple[int, ...]]:
        """How many tasks stand at each status, by job and batch key, as counters and deltas say together."""
        with self.database.begin() as session:
            return {
                (row.job_id, row.batch_key): tuple(getattr(row, status) for status in STATUSES)
                for row in session.execute(select(line_counts))
            }

    def fold(self, limit: int = deltas.MOST_LINES) -> Folded:
        """The deltas of lines are folded into their counters."""
        with self.database.begin() as session:
            return deltas.fold(session, deltas.find_waiting(session, limit))

    def recount(self) -> dict[tuple[int, str], tuple[int, ...]]:
        """The same figures, counted from the tasks themselves."""
        columns = ", ".join(f"count(*) FILTER (WHERE status = '{status}')" for status in STATUSES)
        with self.database.begin() as session:
            rows = session.execute(text(f"SELECT job_id, batch_key, {columns} FROM tasks GROUP BY 1, 2"))
            return {(job_id, key): tuple(counts) for job_id, key, *counts in rows}

    def contents(self) -> dict[str, list[Any]]:
        """Every row of every table, to show that nothing changed."""
        with self.database.begin() as session:
            return {
                name: sorted(map(repr, session.execute(select(table)))) for name, table in METADATA.tables.items()
            }

    def end_other_sessions(self) -> None:
        """Postgres ends every session but ours, as when it restarts."""
        self.scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def wait_for_blocked(self, sessions: int = 1) -> None:
        """Return once so many transactions wait for a lock that another one holds."""
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        deadline = time.monotonic() + 5
        while self.scalar(query) < sessions:
            assert time.monotonic() < deadline, "nobody waits for a lock"
            time.sleep(0.005)

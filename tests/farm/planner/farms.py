"""Hand-made farms, row by row, for what the planner reads."""

from dataclasses import dataclass
from typing import Any

from farm.dispatch.policy import Policy
from farm.planner.ledger import Ledger
from farm.planner.measuring.learn import Learned
from farm.planner.reading.snapshots import Known, Look, read_snapshot
from tests.factories import Scene, a_checkpoint, a_user


@dataclass(frozen=True)
class HandMade:
    """A farm whose rows are written as a test wants them."""

    scene: Scene

    def checkpoint(self, name: str = "demo") -> int:
        return a_checkpoint(self.scene.database, name, sha256=(name.encode().hex() * 64)[:64])

    def owner(self, name: str = "local", weight: float = 1.0) -> int:
        if name != "local":
            a_user(self.scene.database, name)
        self.scene.execute("UPDATE users SET weight = :weight WHERE name = :name", name=name, weight=weight)
        return self._id("SELECT id FROM users WHERE name = :name", name=name)

    def project(self, name: str, weight: float | None = 1.0) -> int:
        return self._id(
            "INSERT INTO projects (name, weight) VALUES (:name, :weight) RETURNING id", name=name, weight=weight
        )

    def group(self, checkpoint: int, key: str = "k", pool: str = "default", **columns: Any) -> int:
        values = {"pixels": 512 * 512, "pixel_steps": 20.0 * 512 * 512, "seconds": None, **columns}
        return self._id(
            "INSERT INTO groups (pool, batch_key, checkpoint_id, pixels, pixel_steps, seconds) "
            "VALUES (:pool, :key, :checkpoint, :pixels, :pixel_steps, :seconds) RETURNING id",
            pool=pool,
            key=key,
            checkpoint=checkpoint,
            **values,
        )

    def line(self, group: int, owner: int, queued: int = 4, pool: str = "default", **columns: Any) -> int:
        """A job with one line; return its id."""
        values = {
            "project": None,
            "priority": 50,
            "class": "bulk",
            "max_devices": None,
            "running": 0,
            "succeeded": 0,
            "age": 10.0,
            "deadline": None,
            "is_ready": True,
            **columns,
        }
        return self._id(
            """
            WITH job AS (
                INSERT INTO jobs (owner_id, project_id, name, mode, request, status, priority, pool, request_sha256,
                                  deadline)
                VALUES (:owner, :project, 'job', 'txt2img', '{}', 'active', :priority, :pool, 'x',
                        now() + make_interval(secs => CAST(:deadline AS float8)))
                RETURNING id
            )
            INSERT INTO counters (job_id, batch_key, owner_id, checkpoint_id, pool, priority, is_open, pixels,
                                  queued, running, succeeded, failed, cancelled, group_id, project_id, is_ready,
                                  ready_at, class, max_devices)
            SELECT job.id, g.batch_key, :owner, g.checkpoint_id, :pool, :priority, true, g.pixels, :queued,
                   :running, :succeeded, 0, 0, g.id, :project, :is_ready, now() - make_interval(secs => :age),
                   :class, :max_devices
            FROM job, groups g WHERE g.id = :group RETURNING job_id
            """,
            group=group,
            owner=owner,
            queued=queued,
            pool=pool,
            **values,
        )

    def worker(self, device: str = "cuda:0", pool: str = "default", **columns: Any) -> int:
        worker_id = self.scene.worker(device=device, pool=pool)
        for name, value in columns.items():
            self.scene.execute(f"UPDATE workers SET {name} = :value WHERE id = :id", value=value, id=worker_id)
        return worker_id

    def running(self, job_id: int, worker: int, images: int, *, first: int = 0) -> None:
        """Tasks of a job that a worker renders, numbered from `first` + 1 on."""
        self.scene.execute(
            "INSERT INTO tasks "
            "(job_id, seq, status, batch_key, spec, attempt_limit, attempt, worker_id, lease_until) "
            "SELECT :job, :first + n, 'running', 'k', '{}', 3, 1, :worker, 'infinity' "
            "FROM generate_series(1, :images) n",
            job=job_id,
            worker=worker,
            images=images,
            first=first,
        )

    def look(self, ledger: Ledger | None = None, known: Known | None = None) -> Look:
        with self.scene.database.begin() as session:
            return read_snapshot(session, ledger or Ledger("default"), known or Known(Learned()), policy=Policy())

    def _id(self, sql: str, **values: Any) -> int:
        found: int = self.scene.scalar(sql, **values)
        return found

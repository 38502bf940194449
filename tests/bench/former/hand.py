"""Runs under a former release: does what it is asked to with that release's code, and says what it told Postgres.

Reads a line of JSON for each step from stdin, [name, arguments], and answers with one: {"result" or "error",
"statements"}. Everything of the farm that it names is as it was in the release of schema 0007.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from psycopg.types.json import Json, Jsonb
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from farm import config
from farm.db.connection import Database, Role
from farm.intake import rows, submit
from farm.intake.request import parse_request
from farm.pictures.uploads import Desk
from farm.queue import claim, deadlines, endings, losses, steering
from farm.queue.claim import Lease
from farm.queue.doorbell import Doorbell
from farm.queue.endings import StoredObject
from farm.queue.workers import fleet
from farm.queue.workers.fleet import WorkerIdentity
from farm.reports import overview

_LEASE_SECONDS = 30.0


class SilentDoorbell(Doorbell):
    """Nobody listens here."""

    def ring(self, pool: str, times: int = 1) -> None:
        pass


class Hand:
    """The former release, with its hand on the database."""

    def __init__(self, database_url: str) -> None:
        self._settings = config.load_given(
            database_url=database_url, redis_url="redis://nowhere", store_url="file:///nowhere", secret_key="0" * 16
        )
        self.database = Database.of(self._settings, Role.TOOL)
        self._doorbell = SilentDoorbell("redis://nowhere")
        self._leases: dict[tuple[int, int], Lease] = {}

    # The portal.

    def submit(self, owner: str, **fields: Any) -> int:
        desk = Desk(self.database, None, self._settings, owner)  # type: ignore[arg-type]  # no picture is sent
        return submit.accept(desk, self._doorbell, parse_request(fields)).job_id

    def cancel(self, job_id: int) -> None:
        steering.cancel(self.database, job_id)

    def pause(self, job_id: int) -> None:
        steering.pause(self.database, job_id)

    def resume(self, job_id: int) -> None:
        steering.resume(self.database, self._doorbell, job_id)

    def retry(self, job_id: int) -> int:
        return steering.retry(self.database, self._settings, self._doorbell, job_id)

    def set_priority(self, job_id: int, priority: int) -> None:
        steering.set_priority(self.database, job_id, priority)

    def show(self, job_id: int) -> dict[str, Any]:
        """How many images the job's page counts as running, after a look at all of them."""
        with self.database.begin() as session:
            list(overview.tasks(session, job_id))
            return {"running": overview.job(session, job_id).images.running}

    # The worker.

    def register(self, device: str) -> int:
        with self.database.begin() as session:
            worker_id = fleet.register(session, WorkerIdentity("former", 1, device, "test device", "default"))
            fleet.beat(session, worker_id, "idle", None)
            return worker_id

    def claim(self, worker_id: int, limit: int) -> list[tuple[int, int]]:
        """What was claimed, as (task id, attempt)."""
        with self.database.begin() as session:
            batch = claim.claim(
                session, worker_id, pool="default", limit=limit, lease_seconds=_LEASE_SECONDS, resident=None
            )
        leases = batch.leases if batch else ()
        self._leases |= {(lease.task_id, lease.attempt): lease for lease in leases}
        return [(lease.task_id, lease.attempt) for lease in leases]

    def renew(self, worker_id: int, *attempts: list[int]) -> list[tuple[int, int]]:
        """Those of the attempts that still hold."""
        with self.database.begin() as session:
            kept = claim.renew(session, worker_id, [self._lease(*attempt) for attempt in attempts], _LEASE_SECONDS)
        return sorted((lease.task_id, lease.attempt) for lease in kept)

    def publish(self, task_id: int, attempt: int) -> bool:
        lease = self._lease(task_id, attempt)
        with self.database.begin() as session:
            return endings.publish(
                session,
                lease,
                _an_object("result", lease),
                _an_object("thumbnail", lease),
                provenance={"bucket": 1},
                timings={"load": 0.0, "render": 0.5},
                gpu_seconds=0.5,
            )

    def fail(self, task_id: int, attempt: int) -> bool:
        with self.database.begin() as session:
            return endings.fail(session, self._lease(task_id, attempt), "the device broke", is_retryable=True)

    def hand_back(self, task_id: int, attempt: int) -> None:
        with self.database.begin() as session:
            endings.hand_back(session, [self._lease(task_id, attempt)], "handed back: the worker is ending")

    # The parent of a worker that died, and the keeper.

    def release_dead(self, worker_id: int) -> int:
        with self.database.begin() as session:
            return losses.release_dead(session, worker_id, "the worker process died: killed by SIGKILL")

    def expire(self) -> int:
        with self.database.begin() as session:
            return losses.expire(session)

    def cancel_overdue(self) -> list[int]:
        with self.database.begin() as session:
            job_ids = list(deadlines.overdue_jobs(session))
            for job_id in job_ids:
                deadlines.cancel_queued(session, job_id, "the deadline has passed")
            return job_ids

    def _lease(self, task_id: int, attempt: int) -> Lease:
        """One that was claimed here; or, of the process before this one, as much of it as an ending reads."""
        return self._leases.get((task_id, attempt)) or self._inherited(task_id, attempt)

    def _inherited(self, task_id: int, attempt: int) -> Lease:
        with self.database.begin() as session:
            job_id = session.execute(text("SELECT job_id FROM tasks WHERE id = :id"), {"id": task_id}).scalar_one()
        return Lease(task_id, job_id, attempt, None)  # type: ignore[arg-type]  # its spec was rendered by then


def _an_object(role: str, lease: Lease) -> StoredObject:
    key = f"{role}/{lease.task_id}-{lease.attempt}.png"
    return StoredObject(role, key, "b" * 64, 100, "image/png", 64, 64)


@contextmanager
def recording(engine: Engine) -> Iterator[list[Mapping[str, Any]]]:
    """The statements that Postgres is told meanwhile, each with its parameters; a COPY with its rows."""
    told: list[Mapping[str, Any]] = []
    copy_tasks = rows.copy_tasks

    def note(_connection: Any, _cursor: Any, sql: str, parameters: Any, _context: Any, _is_many: bool) -> None:
        for each in [parameters] if isinstance(parameters, Mapping) else parameters:
            told.append({"sql": sql, "parameters": {name: _as_json(value) for name, value in each.items()}})

    def copy(session: Session, rows_of_tasks: Iterable[Any]) -> None:
        copied = list(rows_of_tasks)
        told.append({"sql": rows._COPY_TASKS, "rows": copied})
        copy_tasks(session, copied)

    event.listen(engine, "before_cursor_execute", note)
    rows.copy_tasks = copy  # type: ignore[assignment]  # its parameter has another name
    try:
        yield told
    finally:
        rows.copy_tasks = copy_tasks
        event.remove(engine, "before_cursor_execute", note)


def _as_json(value: Any) -> Any:
    """A parameter as JSON; what psycopg wraps as such is marked."""
    return {"json": value.obj} if isinstance(value, Json | Jsonb) else value


def main() -> None:
    """Argument: the URL of the database."""
    hand = Hand(sys.argv[1])
    for line in sys.stdin:
        name, arguments, fields = json.loads(line)
        with recording(hand.database.engine) as told:
            try:
                answer = {"result": getattr(hand, name)(*arguments, **fields)}
            except Exception as error:  # whatever it is, this release is to see it
                answer = {"error": f"{type(error).__name__}: {error}".split("\n")[0]}
        sys.stdout.write(json.dumps({**answer, "told": told}, default=str) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

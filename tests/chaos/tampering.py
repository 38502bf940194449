"""What the entries of this package change in the processes they start, told by their environment.

The faults that no signal brings about: rings that get lost, a clock that is wrong, several hosts on one
machine; and the farm without its fence, which must be found out.
"""

import ctypes
import datetime
import gc
import os
import platform
import random
import time
from collections.abc import Collection, Sequence

import structlog
from sqlalchemy import insert
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from farm.db.tables.artifacts import Artifact, Result
from farm.db.tables.jobs import Task
from farm.queue import endings, leases, lifecycle
from farm.queue.attempts import end_attempts
from farm.queue.claimed import AttemptKey
from farm.queue.doorbell import Doorbell
from farm.queue.leases import AnyHeld
from farm.queue.results import Finished
from workers.parent import supervisor

log = structlog.get_logger(__name__)

LOST_RINGS = "CHAOS_LOST_RINGS"
SEED = "CHAOS_SEED"
CLOCK_SKEW_SECONDS = "CHAOS_CLOCK_SKEW_SECONDS"
HOST = "CHAOS_HOST"
NO_FENCE = "CHAOS_NO_FENCE"
NO_PAUSE = "CHAOS_NO_PAUSE"

RING_LOST = "A ring was lost on purpose."


def lose_rings() -> None:
    """Swallow this share of all rings, with a seeded coin."""
    share = float(os.environ.get(LOST_RINGS, "0"))
    coin = random.Random(f"{os.environ.get(SEED)}-{os.getpid()}")
    ring = Doorbell.ring

    def ring_or_not(self: Doorbell, pool: str, times: int = 1) -> None:
        if coin.random() < share:
            log.info(RING_LOST, pool=pool)
        else:
            ring(self, pool, times)

    Doorbell.ring = ring_or_not  # type: ignore[method-assign]


def tamper() -> None:
    """What the environment asks for in a worker, parent or child."""
    if host := os.environ.get(HOST):
        platform.node = lambda: host
    if seconds := os.environ.get(CLOCK_SKEW_SECONDS):
        shift_clock(float(seconds))
    if os.environ.get(NO_FENCE):
        remove_fence()
    if os.environ.get(NO_PAUSE):
        # Where a child is killed again and again, the next comes at once.
        supervisor._LONGEST_PAUSE_SECONDS = 0.0


def shift_clock(seconds: float) -> None:
    """Let this process believe that it is later. Durations are measured right, as on a real machine."""
    now, now_ns = time.time, time.time_ns
    real = datetime.datetime.now
    shift = datetime.timedelta(seconds=seconds)
    time.time = lambda: now() + seconds
    time.time_ns = lambda: now_ns() + int(seconds * 1e9)
    # Others hold the class already, and it cannot be assigned to: its own table of methods is changed.
    (methods,) = gc.get_referents(datetime.datetime.__dict__)
    methods["now"] = classmethod(lambda cls, tz=None: real(tz) + shift)
    methods["utcnow"] = classmethod(lambda cls: real(datetime.UTC).replace(tzinfo=None) + shift)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))


def remove_fence() -> None:
    """The farm as most queues are: nothing compares the number of the attempt, and the last writer wins."""
    leases.still_held = _believe_all_held
    endings.publish_all = _publish_by_task


def _believe_all_held(held: Collection[AnyHeld], running: Collection[AttemptKey]) -> set[AnyHeld]:
    """All of it is still ours, whoever runs it by now."""
    return set(held)


def _publish_by_task(session: Session, finished: Sequence[Finished]) -> endings.Published:
    """Let each task have this image now, whatever became of it meanwhile."""
    for one in sorted(finished, key=lambda one: one.lease.task_id):
        running = lifecycle.lock(lifecycle.PUBLISH, Task.id == one.lease.task_id)
        moved = lifecycle.move(session, lifecycle.PUBLISH, running, values={"lease_until": None})
        end_attempts(session, moved, "succeeded")
        objects = insert(Artifact).returning(Artifact.id, sort_by_parameter_order=True)
        image_id, thumbnail_id = session.scalars(objects, [vars(one.image), vars(one.thumbnail)]).all()
        values = {"attempt": one.lease.attempt, "image_id": image_id, "thumbnail_id": thumbnail_id}
        session.execute(
            upsert(Result)
            .values(task_id=one.lease.task_id, provenance=dict(one.provenance), **values)
            .on_conflict_do_update(index_elements=["task_id"], set_=values)
        )
    return endings.Published({one.lease.key for one in finished}, set())

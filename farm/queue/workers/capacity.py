"""What did not fit into which worker's memory: evidence about a device, a family and a size.

An image that did not fit speaks neither against its task nor against its worker. The worker leaves images of
that family and at least that size to others, while there are such (see `farm.queue.offers.claimable`). A worker is
meant by its name, which outlives its process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Boolean, ColumnElement, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from farm.db.tables.jobs import Attempt, Counters, Task
from farm.db.tables.weights import Checkpoint
from farm.db.tables.workers import Exclusion, MemoryLimit, Worker
from farm.prompts.compose import compose
from farm.queue.workers import exclusions
from farm.queue.workers.fleet import takes_work


@dataclass(frozen=True)
class Need:
    """What a line of tasks asks of a worker. `pixels` is None where that was not recorded."""

    checkpoint_id: int
    family: str
    pixels: int | None


@dataclass(frozen=True)
class Fitness:
    """What keeps workers from work: from all of it, by name; from checkpoints, by (name, id); and from images that
    are too large, by (name, family)."""

    out_of_service: Mapping[str, Exclusion]
    avoided: Mapping[tuple[str, int], Exclusion]
    limits: Mapping[tuple[str, str], MemoryLimit]

    def suits(self, worker_name: str, need: Need) -> bool:
        """Whether nothing is known that keeps the worker from such work."""
        return (worker_name, need.checkpoint_id) not in self.avoided and not self.is_too_large(worker_name, need)

    def is_too_large(self, worker_name: str, need: Need) -> bool:
        """Whether an image of this family and no larger size did not fit into the worker's memory."""
        limit = self.limits.get((worker_name, need.family))
        return limit is not None and need.pixels is not None and need.pixels >= limit.pixels


def fitness(session: Session) -> Fitness:
    """All that is in force now."""
    excluded = exclusions.in_force(session)
    limits = session.scalars(select(MemoryLimit).where(_is_in_force()))
    return Fitness(
        {found.worker_name: found for found in excluded if found.checkpoint_id is None},
        {(found.worker_name, found.checkpoint_id): found for found in excluded if found.checkpoint_id is not None},
        {(limit.worker_name, limit.family): limit for limit in limits},
    )


def note_misfit(session: Session, task_id: int, reason: str) -> None:
    """Remember that the task's image did not fit into the memory of the worker that has it.

    Of several sizes the smallest counts; what is no longer in force is replaced.
    """
    found = session.execute(
        select(Worker.name, Checkpoint.family, Counters.pixels, Task.spec["prompt"].astext)
        .select_from(Task)
        .join(Worker, Worker.id == Task.worker_id)
        .join(Counters, (Counters.job_id == Task.job_id) & (Counters.batch_key == Task.batch_key))
        .join(Checkpoint, Checkpoint.id == Counters.checkpoint_id)
        .where(Task.id == task_id, Counters.pixels.is_not(None))
    ).one_or_none()
    # Each prompt that AND joins is a row more through the UNet: such an image says nothing of others of its size.
    if found is None or len(compose(found[3])) > 1:
        return
    name, family, pixels, _ = found
    new = {"pixels": pixels, "reason": reason, "created_at": func.now()}
    session.execute(
        upsert(MemoryLimit)
        .values(worker_name=name, family=family, **new)
        .on_conflict_do_update(
            index_elements=["worker_name", "family"],
            set_=new,
            where=or_(MemoryLimit.pixels >= pixels, ~_is_in_force()),
        )
    )


def is_left_to_others(session: Session, task_id: int) -> bool:
    """Whether another worker of its pool takes work that suits the task's image, and did not try it in vain."""
    row = session.execute(
        select(Counters.pool, Counters.checkpoint_id, Checkpoint.family, Counters.pixels, Worker.name)
        .select_from(Task)
        .join(Counters, (Counters.job_id == Task.job_id) & (Counters.batch_key == Task.batch_key))
        .join(Checkpoint, Checkpoint.id == Counters.checkpoint_id)
        .outerjoin(Worker, Worker.id == Task.worker_id)
        .where(Task.id == task_id)
    ).one()
    need = Need(row.checkpoint_id, row.family, row.pixels)
    known = fitness(session)
    tried = session.scalars(
        select(Worker.name)
        .join(Attempt, Attempt.worker_id == Worker.id)
        .where(Attempt.task_id == task_id, Attempt.outcome.in_(("failed", "lost")))
    )
    left = set(workers_taking_work(session, row.pool)) - {row.name, *tried}
    return any(known.suits(name, need) for name in left)


def workers_taking_work(session: Session, pool: str) -> Sequence[str]:
    """The names of the workers that take work of the pool now."""
    return session.scalars(select(Worker.name).where(Worker.pool == pool, takes_work())).all()


def _is_in_force() -> ColumnElement[bool]:
    return literal_column(exclusions.is_recent_sql("memory_limits"), Boolean())

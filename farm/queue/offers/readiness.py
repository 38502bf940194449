"""What leads claims to lines: the groups that they are in, the flag that says one is ready, the queues of owners.

A line is the tasks of one job and batch key: a row of `counters`. It belongs to a group, which jobs share, and is
ready while its job is open and its time has come. A row of `queues` says that an owner has ready lines. Who changes
a job flips its flags here; what nobody is there for, the keeper does (`farm.queue.offers.corrections`).

`farm.queue.lifecycle` says in which order locks are taken.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Text, any_, case, func, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from farm.db.tables.dispatch import Group
from farm.db.tables.jobs import Counters
from farm.queue import lifecycle
from farm.queue.offers.claimable import is_claimable_sql

_MOST_TRIES = 5


@dataclass(frozen=True)
class Kind:
    """What the images of a group have in common.

    `pixels` are those of the heaviest pass; `pixel_steps` the sum over all passes of pixels times steps.
    """

    batch_key: str
    checkpoint_id: int
    pixels: int
    pixel_steps: float


@dataclass(frozen=True)
class Readiness:
    """Whether a job may start now, and since when or from when on."""

    is_ready: bool
    ready_at: datetime


def when_ready(session: Session, not_before: datetime | None) -> Readiness:
    """That of a job which may not start before this time, by the database's clock."""
    since = func.greatest(func.now(), not_before)
    return Readiness(*session.execute(select(since == func.now(), since)).one())


def enter_groups(session: Session, pool: str, batch_limit: int | None, kinds: Iterable[Kind]) -> Mapping[str, int]:
    """The ids of groups of a pool, by batch key; those that are not there yet are entered.

    In the order of their keys, so that no two transactions wait for each other. What is there already is only
    protected from being deleted, which hinders nobody. One that nothing named for long may be deleted just before
    that: it is entered again. Raises RuntimeError where that goes on and on.
    """
    wanted = sorted(kinds, key=lambda kind: kind.batch_key)
    for _ in range(_MOST_TRIES):
        found = _enter_and_find(session, pool, batch_limit, wanted)
        if len(found) == len(wanted):
            return found
    raise RuntimeError(f"groups of pool {pool!r} are deleted as fast as they are entered")


def _enter_and_find(
    session: Session, pool: str, batch_limit: int | None, kinds: Sequence[Kind]
) -> Mapping[str, int]:
    shared = {"pool": pool, "batch_limit": batch_limit}
    rows = [{**shared, **vars(kind)} for kind in kinds]
    session.connection().execute(upsert(Group).on_conflict_do_nothing(), rows)
    keys = literal([row["batch_key"] for row in rows], ARRAY(Text))
    query = select(Group.batch_key, Group.id).where(
        Group.pool == pool, Group.batch_limit.is_not_distinct_from(batch_limit), Group.batch_key == any_(keys)
    )
    found = session.execute(query.with_for_update(read=True, key_share=True))
    return {row.batch_key: row.id for row in found}


KEY_OF_QUEUE = "c.pool, c.priority, c.owner_id"
"""What a queue is found by, of a row `c` of `counters`."""

_LAG_OF_OWNER = "(SELECT sum(lag) FROM shares s WHERE s.pool = c.pool AND s.owner_id = c.owner_id)"
OPEN_READY = f"""
    INSERT INTO queues (pool, priority, owner_id, turn)
    SELECT {KEY_OF_QUEUE}, coalesce(-{_LAG_OF_OWNER}, 0) FROM ready c
    ORDER BY {KEY_OF_QUEUE}
    ON CONFLICT (pool, priority, owner_id) DO UPDATE SET is_waiting = true
"""
"""SQL that opens the queues in a CTE `ready`. Who comes back takes the turn that their lag gives them."""

_OPEN_QUEUES = text(
    f"""
    WITH ready AS (
        SELECT DISTINCT {KEY_OF_QUEUE} FROM counters c WHERE c.job_id = ANY (:job_ids) AND {is_claimable_sql("c")}
    ) {OPEN_READY}
    """
)


def open_queues(session: Session, job_ids: Sequence[int]) -> None:
    """Lead claims to the owners of these jobs, as far as they have ready lines.

    Call it late: jobs of an owner share these rows. They are locked even where nothing changes, so that no
    keeper which cannot see this transaction's lines yet closes a queue meanwhile.
    """
    session.execute(_OPEN_QUEUES, {"job_ids": list(job_ids)})


def open_lines(session: Session, job_id: int) -> None:
    """Let workers claim the job's queued tasks, once their time has come. Call before `move_job`: lock order."""
    since = func.greatest(func.now(), Counters.not_before)
    lifecycle.update_counters(
        session,
        job_id,
        is_open=True,
        is_ready=since == func.now(),
        ready_at=case((Counters.is_ready, Counters.ready_at), else_=since),
    )
    open_queues(session, [job_id])


def close_lines(session: Session, job_id: int) -> None:
    """Keep workers from the job's queued tasks. Call before `move_job`: lock order."""
    lifecycle.update_counters(session, job_id, is_open=False, is_ready=False)


def set_priority_of_lines(session: Session, job_id: int, priority: int) -> None:
    """Move the job's lines to the queue of this priority. Call before the job's row is changed: lock order."""
    lifecycle.update_counters(session, job_id, priority=priority)
    open_queues(session, [job_id])

"""How long a job may take that is not there yet: by what was rendered recently, and when, by the plan."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from farm.db.tables.artifacts import Result
from farm.db.tables.jobs import Attempt, Counters, Task
from farm.db.tables.weights import Checkpoint
from farm.intake.unfold import Unfolded
from farm.queue.workers.fleet import is_up_sql
from farm.reports.expected import Expected
from farm.reports.prospects import Work, expect, read_standing
from farm.spec.modes import pixel_steps, read_spec

# The newest images, whichever job they are of: enough to be typical, few enough to be read at once.
_LOOKED_AT = 300
_LOAD_SECONDS = 15.0
_LOAD_BYTES_PER_SECOND = 5e8

# Of each device class the fastest batch; the mean over the workers that are there, counted by class before that.
_SPEEDS = text(
    f"""
    WITH classes AS MATERIALIZED (
        SELECT coalesce(device_class, device_name) AS device_class, count(*) AS workers
        FROM workers w WHERE w.pool = :pool AND {is_up_sql("w")} GROUP BY 1
    )
    SELECT s.family, s.pixels, (sum(s.seconds * c.workers) / sum(c.workers))::float8 AS seconds
    FROM (SELECT family, pixels, device_class, min(seconds_per_step) AS seconds FROM speeds
          WHERE family = ANY(:families) GROUP BY family, pixels, device_class) s
    JOIN classes c USING (device_class)
    GROUP BY s.family, s.pixels
    """
)
_LOADS = text(
    f"""
    SELECT k.id,
           coalesce(
               (SELECT avg(seconds) FROM loads WHERE checkpoint_id = k.id),
               (SELECT sum((f.value ->> 'size')::bigint) FROM jsonb_each(k.files) f) / {_LOAD_BYTES_PER_SECOND}
           )::float8 AS seconds,
           EXISTS (SELECT FROM workers w WHERE w.pool = :pool AND {is_up_sql("w")}
                   AND (k.id = ANY(w.residents) OR w.checkpoint_id = k.id)) AS is_resident
    FROM checkpoints k WHERE k.id = ANY(:checkpoints)
    """
)


def seconds(session: Session, groups: Iterable[Unfolded], serving: int) -> float | None:
    """How long so many workers would take for these images.

    By the device time that a family took recently for a pixel's step; loading is not counted. None where a
    family was not rendered recently.
    """
    total = _seconds(groups, _rates(session))
    return None if total is None else total / max(1, serving)


def prospect(
    session: Session, groups: Sequence[Unfolded], *, owner: str, pool: str, priority: int, class_: str
) -> Expected | None:
    """When a job of these groups would start and end; None where nobody plans the pool, or it has no device."""
    standing = read_standing(session, owner, pool, priority)
    return None if standing is None else expect(standing, _measure(session, groups, pool, class_))


def _measure(session: Session, groups: Sequence[Unfolded], pool: str, class_: str) -> Work:
    families = {group.checkpoint.family.name for group in groups}
    speeds = session.execute(_SPEEDS, {"families": sorted(families), "pool": pool}).all()
    rates: dict[str, list[float]] = {}
    for row in speeds:
        rates.setdefault(row.family, []).append(row.seconds / row.pixels)
    loads = session.execute(_LOADS, {"checkpoints": sorted({g.checkpoint.id for g in groups}), "pool": pool}).all()
    seconds = [_LOAD_SECONDS if row.seconds is None else row.seconds for row in loads]
    return Work(
        images=sum(len(group.seeds) for group in groups),
        seconds=_seconds(groups, {family: sum(found) / len(found) for family, found in rates.items()}),
        load_low=0.0 if any(row.is_resident for row in loads) else 0.5 * min(seconds, default=0.0),
        load_high=max(seconds, default=0.0),
        is_interactive=class_ == "interactive",
    )


def _seconds(groups: Iterable[Unfolded], rates: Mapping[str, float]) -> float | None:
    """Device seconds of all images, by seconds for a pixel's step; None where a family was not rendered yet."""
    total = 0.0
    for group in groups:
        steps = pixel_steps(group.template) * len(group.seeds)
        if steps and group.checkpoint.family.name not in rates:
            return None
        total += rates.get(group.checkpoint.family.name, 0.0) * steps
    return total


def _rates(session: Session) -> Mapping[str, float]:
    """Seconds for a pixel's step, by family."""
    newest = select(Result.task_id, Result.attempt).order_by(Result.task_id.desc()).limit(_LOOKED_AT).subquery()
    query = (
        select(Checkpoint.family, Task.spec, Attempt.gpu_seconds)
        .select_from(newest)
        .join(Attempt, (Attempt.task_id == newest.c.task_id) & (Attempt.number == newest.c.attempt))
        .join(Task, Task.id == newest.c.task_id)
        .join(Counters, (Counters.job_id == Task.job_id) & (Counters.batch_key == Task.batch_key))
        .join(Checkpoint, Checkpoint.id == Counters.checkpoint_id)
    )
    spent: dict[str, float] = defaultdict(float)
    steps: dict[str, float] = defaultdict(float)
    for family, spec, gpu_seconds in session.execute(query):
        # What takes no step tells nothing of how long one takes.
        if gpu_seconds and (done := pixel_steps(read_spec(spec))):
            spent[family] += gpu_seconds
            steps[family] += done
    return {family: spent[family] / steps[family] for family in spent}

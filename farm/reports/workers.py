"""The workers as people and programs read them: what each does, and what it is kept from."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import func, select, union
from sqlalchemy.orm import Session

from farm.db.tables.jobs import Task
from farm.db.tables.weights import Checkpoint
from farm.db.tables.workers import Worker
from farm.queue.workers import capacity, exclusions
from farm.reports.shapes import ExclusionReport, MemoryLimitReport, WorkerReport

_MOST_WORKERS = 2_000
_MOST_STARTS = 5_000
"""So many are looked through for those that are gone: each start leaves a row, as long as its images are kept."""


def workers(session: Session, *, is_live: bool = False) -> list[WorkerReport]:
    """The workers by name, those that are gone (for a day) last."""
    running = (
        select(Task.worker_id, func.count().label("running"))
        .where(Task.status == "running")
        .group_by(Task.worker_id)
        .subquery()
    )
    silent = func.extract("epoch", func.now() - Worker.last_seen_at)
    live = select(Worker.id).where(Worker.status != "offline")
    last = select(Worker.id, Worker.last_seen_at).order_by(Worker.id.desc()).limit(_MOST_STARTS).subquery()
    gone = select(last.c.id).where(last.c.last_seen_at > func.now() - func.make_interval(0, 0, 0, 1))
    query = (
        select(Worker, func.coalesce(running.c.running, 0), silent)
        .outerjoin(running, running.c.worker_id == Worker.id)
        .where(Worker.id.in_(live if is_live else union(live, gone)))
        .order_by(Worker.status == "offline", Worker.name, Worker.id.desc())
        .limit(_MOST_WORKERS)
    )
    found = session.execute(query).all()
    names = _checkpoint_names(session, {id_ for worker, *_ in found for id_ in worker.residents})
    excluded, limits = exclusion_reports(session), _memory_limit_reports(session)
    return [
        _worker_report(
            worker,
            exclusions=excluded[worker.name],
            memory_limits=limits[worker.name],
            residents=[names[id_] for id_ in worker.residents if id_ in names],
            running=count,
            silent_seconds=float(seconds),
        )
        for worker, count, seconds in found
    ]


def _worker_report(worker: Worker, **known: Any) -> WorkerReport:
    names = WorkerReport.model_fields.keys() - {"checkpoint", *known}
    return WorkerReport.model_validate(
        {
            **{name: getattr(worker, name) for name in names},
            "checkpoint": worker.checkpoint.name if worker.checkpoint else None,
            **known,
        }
    )


def _checkpoint_names(session: Session, ids: Collection[int]) -> Mapping[int, str]:
    rows = session.execute(select(Checkpoint.id, Checkpoint.name).where(Checkpoint.id.in_(ids)))
    return {row.id: row.name for row in rows}


def _memory_limit_reports(session: Session) -> Mapping[str, list[MemoryLimitReport]]:
    """What did not fit into whose memory, by the worker's name."""
    found: dict[str, list[MemoryLimitReport]] = defaultdict(list)
    for (name, family), limit in sorted(capacity.fitness(session).limits.items()):
        report = MemoryLimitReport(family=family, pixels=limit.pixels, reason=limit.reason, since=limit.created_at)
        found[name].append(report)
    return found


def exclusion_reports(session: Session) -> Mapping[str, list[ExclusionReport]]:
    """What each worker is kept from, by its name; nothing for those that are not excluded."""
    found: dict[str, list[ExclusionReport]] = defaultdict(list)
    for exclusion in exclusions.in_force(session):
        checkpoint = exclusion.checkpoint.name if exclusion.checkpoint else None
        report = ExclusionReport(checkpoint=checkpoint, reason=exclusion.reason, since=exclusion.created_at)
        found[exclusion.worker_name].append(report)
    return found

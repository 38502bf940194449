"""/workers and /stats: the workers, their exclusions, and the farm at a glance."""

from flask import Response
from flask_openapi3.types import ResponseDict
from sqlalchemy.orm import Session

from farm.queue.workers import exclusions
from farm.reports import stats, workers
from farm.reports.figures import StatsReport
from web.api.blueprint import json_answer, make_blueprint, problem
from web.api.schemas import Drain, Excluded, Restore, Workers
from web.guard.auth import current_user
from web.services import services

api = make_blueprint("workers", "The processes that render, one for each device.")

_NO_WORKER: ResponseDict = {404: problem("There is no such worker; those that are known are named.")}
_NOT_KEPT: ResponseDict = {409: problem("The worker is not kept from that.")}


@api.get("/workers", summary="List the workers", responses={200: Workers})
def index() -> Response:
    """By name, with the exclusions of each; workers that went offline within a day come last."""
    with services().database.begin() as session:
        return json_answer(Workers(workers=workers.workers(session)))


@api.post("/workers/drain", summary="Drain a worker", responses={200: Excluded, **_NO_WORKER})
def drain(body: Drain) -> Response:
    """It finishes what it renders and claims nothing more, until it is restored."""
    with services().database.begin() as session:
        exclusions.drain(session, body.worker, exclusions.drained_by(current_user(), body.reason))
        return json_answer(_report_exclusions(session, body.worker))


@api.post(
    "/workers/restore", summary="Put a worker back in service", responses={200: Excluded, **_NO_WORKER, **_NOT_KEPT}
)
def restore(body: Restore) -> Response:
    """It renders again: everything that it was excluded from, or one checkpoint."""
    with services().database.begin() as session:
        exclusions.restore(session, body.worker, body.checkpoint)
        return json_answer(_report_exclusions(session, body.worker))


def _report_exclusions(session: Session, worker_name: str) -> Excluded:
    return Excluded(worker=worker_name, exclusions=workers.exclusion_reports(session).get(worker_name, []))


@api.get("/stats", summary="The farm in figures", responses={200: StatsReport})
def farm_stats() -> Response:
    """How it is planned, who gets how much of it, and how far off its estimates were."""
    with services().database.begin() as session:
        return json_answer(stats.stats(session))

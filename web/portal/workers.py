"""The page of the workers, and its buttons."""

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from farm.queue.workers import exclusions
from farm.reports import stats, workers
from farm.reports.figures import StatsReport
from farm.reports.shapes import WorkerReport
from web.evidence import hide_evidence
from web.guard.auth import current_user
from web.services import services

pages = Blueprint("workers_page", __name__)


@pages.get("/workers")
def index() -> str:
    return render_template("workers.html", workers=_workers(), stats=_stats())


@pages.get("/workers/live")
def live_index() -> str:
    return render_template("_workers.html", workers=_workers())


@pages.post("/workers/drain")
def drain() -> Response:
    with services().database.begin() as session:
        exclusions.drain(session, request.form.get("worker", ""), exclusions.drained_by(current_user()))
    return _back()


@pages.post("/workers/restore")
def restore() -> Response:
    """Put a worker back, or give one checkpoint back to it."""
    with services().database.begin() as session:
        exclusions.restore(session, request.form.get("worker", ""), request.form.get("checkpoint"))
    return _back()


def _back() -> Response:
    return make_response(redirect(url_for("workers_page.index"), 303))


def _stats() -> StatsReport:
    with services().database.begin() as session:
        return stats.stats(session)


def _workers() -> list[WorkerReport]:
    with services().database.begin() as session:
        return [hide_evidence(worker) for worker in workers.workers(session)]

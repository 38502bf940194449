"""The page of the workers."""

from flask import Blueprint, render_template

from farm import overview
from farm.reports import WorkerReport
from web.services import services

pages = Blueprint("workers_page", __name__)


@pages.get("/workers")
def index() -> str:
    return render_template("workers.html", workers=_workers())


@pages.get("/workers/live")
def live_index() -> str:
    return render_template("_workers.html", workers=_workers())


def _workers() -> list[WorkerReport]:
    with services().database.begin() as session:
        return overview.workers(session)

"""The list of jobs and the page of one job, each with the fragment that its live refresh asks for."""

from collections.abc import Mapping
from dataclasses import dataclass

from flask import Blueprint, Response, abort, make_response, redirect, render_template, request, url_for
from sqlalchemy.orm import Session

from farm.intake.request import Axis
from farm.queue import steering
from farm.reports import gallery, overview
from farm.reports.shapes import (
    AttemptReport,
    FarmReport,
    GridReport,
    ImageReport,
    JobReport,
    TaskReport,
    UploadReport,
)
from farm.reports.waiting import explain
from farm.spec.image import ImageSpec
from farm.spec.modes import read_spec
from web.actions import ACTIONS
from web.evidence import hide_evidence, hide_private
from web.guard.auth import current_user
from web.guard.paths import JOB_PATH, MAX_ID, MAX_SEQ
from web.portal.settings_list import Row, axis_rows, rows_of
from web.portal.submit.pictures import show_all
from web.progress import with_progress
from web.services import services

pages = Blueprint("portal", __name__)

_JOBS_SHOWN = 20
_STRIP = 6
_IMAGES_SHOWN = 60
_RUNNING_SHOWN = 16
_ATTEMPTS_SHOWN = 10


@dataclass(frozen=True)
class JobList:
    """What the list shows: one page of jobs with their first images, and the farm at a glance."""

    jobs: list[JobReport]
    strips: Mapping[int, list[ImageReport]]
    farm: FarmReport
    next: int | None
    is_first: bool

    @property
    def is_live(self) -> bool:
        return self.farm.queued + self.farm.running > 0 or any(not job.is_final for job in self.jobs)


@dataclass(frozen=True)
class JobView:
    """What a job's page shows."""

    job: JobReport
    running: list[TaskReport]
    images: list[ImageReport]
    grids: list[GridReport]
    next: int | None
    attempts: list[AttemptReport]
    reasons: list[str]
    after: int

    @property
    def is_live(self) -> bool:
        """Whether the page may still change: the grids of a sweep come after its last image."""
        return not self.job.is_final or self.job.awaits_grid


@dataclass(frozen=True)
class JobSettings:
    """What a job was asked for, as its first image has it: that stays as it is."""

    spec: ImageSpec
    rows: list[Row]
    inputs: Mapping[str, UploadReport]


@pages.get("/")
def index() -> str:
    return render_template("jobs.html", list=_list())


@pages.get("/live")
def live_index() -> str:
    return render_template("_jobs.html", list=_list())


@pages.get(JOB_PATH)
def show(job_id: int) -> str:
    view = _view(job_id)
    with services().database.begin() as session:
        return render_template("job.html", view=view, settings=_settings(session, job_id))


@pages.get(f"{JOB_PATH}/live")
def live_show(job_id: int) -> str:
    return render_template("_job.html", view=_view(job_id))


@pages.post(f"{JOB_PATH}/<any({', '.join(ACTIONS)}):action>")
def act(job_id: int, action: str) -> Response:
    """Do what a button says, and show the job again."""
    ACTIONS[action](services(), job_id)
    return _back_to(job_id)


@pages.post(f"{JOB_PATH}/priority")
def set_priority(job_id: int) -> Response:
    priority = request.form.get("priority", type=int)
    if priority is None or not 0 <= priority <= 100:
        abort(422, "A priority is a whole number from 0 to 100.")
    steering.set_priority(services().database, job_id, priority)
    return _back_to(job_id)


def _back_to(job_id: int) -> Response:
    return make_response(redirect(url_for("portal.show", job_id=job_id), 303))


def _list() -> JobList:
    before = request.args.get("before", type=int)
    if before is not None:
        before = min(max(before, 0), MAX_ID)
    with services().database.begin() as session:
        found = overview.jobs(session, before=before, limit=_JOBS_SHOWN + 1)
        shown = found[:_JOBS_SHOWN]
        strips = gallery.first_images(session, shown, _STRIP, services().links)
        farm = overview.farm(session)
    return JobList(
        jobs=shown,
        strips=strips,
        farm=farm,
        next=shown[-1].id if len(found) > len(shown) else None,
        is_first=before is None,
    )


def _view(job_id: int) -> JobView:
    after = min(max(request.args.get("after", -1, type=int), -1), MAX_SEQ)
    with services().database.begin() as session:
        job = overview.job(session, job_id)
        found = gallery.images(session, job_id, services().links, after=after, limit=_IMAGES_SHOWN + 1)
        images = found[:_IMAGES_SHOWN]
        return JobView(
            job=hide_evidence(job),
            running=_running(session, job),
            images=images,
            grids=gallery.grids(session, job_id, services().links),
            next=images[-1].seq if len(found) > len(images) else None,
            attempts=[
                hide_evidence(attempt) for attempt in overview.attempts(session, job_id, limit=_ATTEMPTS_SHOWN)
            ],
            reasons=[hide_private(reason) for reason in explain(session, job_id)],
            after=after,
        )


def _settings(session: Session, job_id: int) -> JobSettings:
    spec = read_spec(overview.tasks(session, job_id, limit=1)[0].spec)
    sweep = overview.sweep(session, job_id)
    rows = rows_of(spec) + axis_rows([Axis.model_validate(axis) for axis in sweep.axes])
    if sweep.styles:
        rows.append(("Styles", ", ".join(sweep.styles)))
    pictures = {name: getattr(spec, name) for name in ("image", "mask") if hasattr(spec, name)}
    return JobSettings(spec, rows, show_all(session, services().desk_of(current_user()), pictures))


def _running(session: Session, job: JobReport) -> list[TaskReport]:
    if not job.images.running:
        return []
    return with_progress(overview.tasks(session, job.id, status="running", limit=_RUNNING_SHOWN))

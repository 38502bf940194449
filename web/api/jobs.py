"""/jobs: submit, list, look at, change, and call off."""

from flask import Response, url_for
from flask_openapi3.types import ResponseDict

from farm.intake import submit as intake
from farm.intake.request import JobRequest
from farm.queue import steering
from farm.reports import overview
from farm.reports.shapes import JobReport, PreviewReport
from farm.reports.waiting import explain
from web.actions import ACTIONS
from web.api.blueprint import json_answer, make_blueprint, problem
from web.api.schemas import (
    JobChange,
    JobPage,
    JobPath,
    JobsQuery,
    Reasons,
    SubmitHeader,
    SubmitQuery,
    SubmittedJob,
)
from web.evidence import hide_private
from web.guard.auth import current_user
from web.guard.paths import JOB_PATH
from web.services import services

api = make_blueprint("jobs", "What users submit.")

_NO_JOB: ResponseDict = {404: problem("There is no such job.")}
_NOT_NOW: ResponseDict = {**_NO_JOB, 409: problem("The job is not in a state that allows this.")}
_ACTED: ResponseDict = {200: JobReport, **_NOT_NOW}


@api.post(
    "/jobs",
    summary="Submit a job",
    responses={
        200: PreviewReport,
        201: SubmittedJob,
        409: problem("The Idempotency-Key was used for another request."),
    },
)
def submit(header: SubmitHeader, query: SubmitQuery, body: JobRequest) -> Response:
    """Accept a job. What is answered 201 is stored; a repeat with the same Idempotency-Key is harmless."""
    farm, owner, key = services(), current_user(), header.idempotency_key
    if query.dry_run:
        return json_answer(PreviewReport.model_validate(intake.preview(farm.desk_of(owner), body)))
    accepted = intake.accept(farm.desk_of(owner), farm.doorbell, body, idempotency_key=key)
    headers = {"Location": url_for("jobs.show", job_id=accepted.job_id)}
    if accepted.is_replay:
        headers["Idempotent-Replayed"] = "true"
    report = SubmittedJob(**{**_report(accepted.job_id).model_dump(), "warnings": list(accepted.warnings)})
    return json_answer(report, 201, headers)


@api.get("/jobs", summary="List jobs, newest first", responses={200: JobPage})
def index(query: JobsQuery) -> Response:
    with services().database.begin() as session:
        found = overview.jobs(
            session, before=query.before, status=query.status, owner=query.owner, limit=query.limit + 1
        )
    shown = found[: query.limit]
    return json_answer(JobPage(jobs=shown, next=shown[-1].id if len(found) > len(shown) else None))


@api.get(JOB_PATH, summary="Look at a job", responses={200: JobReport, **_NO_JOB})
def show(path: JobPath) -> Response:
    return json_answer(_report(path.job_id))


@api.patch(JOB_PATH, summary="Change a job's priority", responses=_ACTED)
def change(path: JobPath, body: JobChange) -> Response:
    steering.set_priority(services().database, path.job_id, body.priority)
    return json_answer(_report(path.job_id))


@api.delete(JOB_PATH, summary="Cancel a job", responses={204: None, **_NOT_NOW})
def delete(path: JobPath) -> Response:
    """The same as cancel: the job and its finished images stay."""
    ACTIONS["cancel"](services(), path.job_id)
    return Response(status=204)


@api.get(f"{JOB_PATH}/explain", summary="Why images of a job wait", responses={200: Reasons, **_NO_JOB})
def reasons(path: JobPath) -> Response:
    with services().database.begin() as session:
        found = [hide_private(reason) for reason in explain(session, path.job_id)]
        return json_answer(Reasons(reasons=found, expected=overview.job(session, path.job_id).expected))


@api.post(f"{JOB_PATH}/cancel", summary="Call off what is not finished", responses=_ACTED)
def cancel(path: JobPath) -> Response:
    return _act("cancel", path.job_id)


@api.post(f"{JOB_PATH}/pause", summary="Start no further image", responses=_ACTED)
def pause(path: JobPath) -> Response:
    """What is rendering finishes."""
    return _act("pause", path.job_id)


@api.post(f"{JOB_PATH}/resume", summary="Let a paused job go on", responses=_ACTED)
def resume(path: JobPath) -> Response:
    return _act("resume", path.job_id)


@api.post(f"{JOB_PATH}/retry", summary="Queue the failed images again", responses=_ACTED)
def retry(path: JobPath) -> Response:
    """With fresh tries."""
    return _act("retry", path.job_id)


def _act(action: str, job_id: int) -> Response:
    ACTIONS[action](services(), job_id)
    return json_answer(_report(job_id))


def _report(job_id: int) -> JobReport:
    with services().database.begin() as session:
        return overview.job(session, job_id)

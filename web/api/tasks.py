"""/jobs/{id}/tasks and /attempts: how far each image is, and what went wrong."""

from flask import Response
from flask_openapi3.types import ResponseDict

from farm.reports import overview
from web.api.blueprint import json_answer, make_blueprint, problem
from web.api.schemas import Attempts, AttemptsQuery, JobPath, TaskPage, TasksQuery
from web.guard.paths import JOB_PATH
from web.progress import with_progress
from web.services import services

api = make_blueprint("tasks", "The images of a job, one task each, and the tries of rendering them.")

_NO_JOB: ResponseDict = {404: problem("There is no such job.")}


@api.get(f"{JOB_PATH}/tasks", summary="List a job's tasks", responses={200: TaskPage, **_NO_JOB})
def index(path: JobPath, query: TasksQuery) -> Response:
    """In their order; running tasks have their progress."""
    with services().database.begin() as session:
        overview.job(session, path.job_id)
        found = overview.tasks(session, path.job_id, after=query.after, status=query.status, limit=query.limit + 1)
    shown = found[: query.limit]
    return json_answer(
        TaskPage(tasks=with_progress(shown), next=shown[-1].seq if len(found) > len(shown) else None)
    )


@api.get(f"{JOB_PATH}/attempts", summary="List what went wrong", responses={200: Attempts, **_NO_JOB})
def attempts(path: JobPath, query: AttemptsQuery) -> Response:
    """The attempts that failed or were lost, newest first."""
    with services().database.begin() as session:
        overview.job(session, path.job_id)
        return json_answer(Attempts(attempts=overview.attempts(session, path.job_id, limit=query.limit)))

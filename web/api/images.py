"""/jobs/{id}/images: what was published."""

from flask import Response

from farm.reports import gallery, overview
from web.api.blueprint import json_answer, make_blueprint, problem
from web.api.schemas import Grids, ImagePage, ImagesQuery, JobPath
from web.guard.paths import JOB_PATH
from web.services import services

api = make_blueprint("images", "Published images, each the one result of its task.")


@api.get(
    f"{JOB_PATH}/images",
    summary="List a job's published images",
    responses={200: ImagePage, 404: problem("There is no such job.")},
)
def index(path: JobPath, query: ImagesQuery) -> Response:
    """In the order of the tasks. The links expire; ask again for new ones."""
    farm = services()
    with farm.database.begin() as session:
        overview.job(session, path.job_id)
        found = gallery.images(session, path.job_id, farm.links, after=query.after, limit=query.limit + 1)
    images = found[: query.limit]
    return json_answer(ImagePage(images=images, next=images[-1].seq if len(found) > len(images) else None))


@api.get(
    f"{JOB_PATH}/grids",
    summary="List the labelled pictures of a sweep",
    responses={200: Grids, 404: problem("There is no such job.")},
)
def list_grids(path: JobPath) -> Response:
    """Drawn within seconds of the job's end; while `awaits_grid` of the job is true they are still to come."""
    farm = services()
    with farm.database.begin() as session:
        overview.job(session, path.job_id)
        found = gallery.grids(session, path.job_id, farm.links)
    return json_answer(Grids(grids=found))

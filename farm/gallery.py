"""Published images as people see them: with links, and the first few of each job."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from sqlalchemy import BigInteger, Integer, column, select, true, values
from sqlalchemy.orm import Session

from farm.models import Artifact, Grid, Result, Task
from farm.reports import GridReport, ImageReport, JobReport
from farm.store import Store


def image_report(result: Result, store: Store, link_seconds: int) -> ImageReport:
    """The image with links that hold for so long."""
    task, image = result.task, result.image
    return ImageReport(
        task_id=task.id,
        job_id=task.job_id,
        seq=task.seq,
        attempt=result.attempt,
        width=image.width,
        height=image.height,
        sha256=image.sha256,
        size_bytes=image.size_bytes,
        media_type=image.media_type,
        filename=_filename(task, image),
        url=store.link(image.key, seconds=link_seconds),
        thumbnail_url=store.link(result.thumbnail.key, seconds=link_seconds),
        spec=task.spec,
        provenance=result.provenance,
        created_at=result.created_at,
    )


def grid_report(grid: Grid, store: Store, link_seconds: int) -> GridReport:
    """The grid with a link that holds for so long."""
    image = grid.artifact
    return GridReport(
        number=grid.number,
        title=grid.title,
        filename=f"{grid.job_id}-grid-{grid.number}.png",
        url=store.link(image.key, seconds=link_seconds),
        width=image.width,
        height=image.height,
        size_bytes=image.size_bytes,
    )


def _filename(task: Task, image: Artifact) -> str:
    """A name that sorts in the job's order and is unique in the farm."""
    return f"{task.job_id}-{task.seq:05}-{task.spec['seed']}{PurePosixPath(image.key).suffix}"


def first_results(session: Session, jobs: Sequence[JobReport], each: int) -> Mapping[int, list[Result]]:
    """The first published images of each job, by job id: at most so many each.

    Each job's limit is what it has, so that no scan goes on for images that are not there.
    """
    wanted = [(job.id, min(each, job.images.succeeded)) for job in jobs if job.images.succeeded]
    found: dict[int, list[Result]] = defaultdict(list)
    if not wanted:
        return found
    shares = values(column("job_id", BigInteger), column("share", Integer), name="shares").data(wanted)
    firsts = (
        select(Task.id)
        .where(Task.job_id == shares.c.job_id, Task.status == "succeeded")
        .order_by(Task.seq)
        .limit(shares.c.share)
        .lateral("firsts")
    )
    query = select(Result).select_from(shares.join(firsts, true())).join(Result, Result.task_id == firsts.c.id)
    for result in session.scalars(query.order_by(Result.task_id)):
        found[result.task.job_id].append(result)
    return found

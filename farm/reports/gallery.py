"""Published images as people see them: with links, and the first few of each job."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from sqlalchemy import BigInteger, Integer, Select, column, literal_column, select, true, values
from sqlalchemy.orm import Session

from farm.db.tables.artifacts import Artifact, Grid, Result
from farm.db.tables.jobs import Task
from farm.reports.shapes import GridReport, ImageReport, JobReport
from farm.store.protocol import Store


@dataclass(frozen=True)
class Links:
    """How links to stored objects are made: by which store, and for how many seconds each holds."""

    store: Store
    seconds: int

    def to(self, artifact: Artifact) -> str:
        return self.store.link(artifact.key, seconds=self.seconds)


def images(session: Session, job_id: int, links: Links, *, after: int = -1, limit: int = 100) -> list[ImageReport]:
    """The job's published images by seq; `after` is a seq, for the next page."""
    return [_image_report(result, links) for result in session.scalars(_images(job_id, after, limit))]


def _images(job_id: int, after: int, limit: int) -> Select[Result]:
    """What is published has succeeded: an index holds these tasks and none of those that wait."""
    query = select(Result).join(Task, Task.id == Result.task_id)
    published = query.where(Task.job_id == job_id, Task.status == literal_column("'succeeded'"), Task.seq > after)
    return published.order_by(Task.seq).limit(limit)


def grids(session: Session, job_id: int, links: Links) -> list[GridReport]:
    """The job's grids, in order."""
    query = select(Grid).where(Grid.job_id == job_id).order_by(Grid.number)
    return [_grid_report(grid, links) for grid in session.scalars(query)]


def _image_report(result: Result, links: Links) -> ImageReport:
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
        url=links.to(image),
        thumbnail_url=links.to(result.thumbnail),
        spec=task.spec,
        provenance=result.provenance,
        created_at=result.created_at,
    )


def _grid_report(grid: Grid, links: Links) -> GridReport:
    image = grid.artifact
    return GridReport(
        number=grid.number,
        title=grid.title,
        filename=f"{grid.job_id}-grid-{grid.number}.png",
        url=links.to(image),
        width=image.width,
        height=image.height,
        size_bytes=image.size_bytes,
    )


def _filename(task: Task, image: Artifact) -> str:
    """A name that sorts in the job's order and is unique in the farm."""
    return f"{task.job_id}-{task.seq:05}-{task.spec['seed']}{PurePosixPath(image.key).suffix}"


def first_images(
    session: Session, jobs: Sequence[JobReport], each: int, links: Links
) -> Mapping[int, list[ImageReport]]:
    """The first published images of each job, by job id: at most so many each.

    Each job's limit is what it has, so that no scan goes on for images that are not there.
    """
    wanted = [(job.id, min(each, job.images.succeeded)) for job in jobs if job.images.succeeded]
    found: dict[int, list[ImageReport]] = defaultdict(list)
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
        found[result.task.job_id].append(_image_report(result, links))
    return found

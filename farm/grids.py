"""The grids of finished sweeps: drawn beside the keeper, once every image of the job is final."""

import hashlib
import io
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from PIL import Image
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from farm.config import Settings
from farm.database import Database
from farm.errors import ObjectMissing, StoreError
from farm.events import record
from farm.gridsheet import Place, Sheet, draw_sheet, join_sheets
from farm.models import Artifact, Discard, Grid, Job, Result, Task
from farm.requests import Axis, JobRequest
from farm.store import Store
from farm.sweeps import label

log = structlog.get_logger(__name__)

_LOCK = 7217
_MOST_GRIDS = 100
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Frame:
    """What one grid shows: a prompt, and one repeat of its images, from 0. The third axis lies inside it."""

    prompt: int
    repeat: int


Planes = Mapping[int, Mapping[Place, str]]
"""The keys of images by their place, for each value of the third axis."""


class GridMaker:
    """Draws what is due every second, until stopped. One at a time works in a farm."""

    def __init__(self, settings: Settings, database: Database, store: Store) -> None:
        self._settings = settings
        self._database = database
        self._store = store
        self._stopped = threading.Event()

    def run(self) -> None:
        """Make rounds until `stop`; outages of Postgres and of the store are waited out."""
        while not self._stopped.wait(max(_PAUSE_SECONDS, self._settings.keeper_seconds)):
            self.make_round()

    def stop(self) -> None:
        self._stopped.set()

    def make_round(self) -> None:
        """Draw the grids of every sweep that has ended. What fails is tried again in the next round."""
        try:
            with self._database.alone(_LOCK) as is_alone:
                for job_id in self._due() if is_alone else ():
                    draw_job(self._database, self._store, job_id)
        except (SQLAlchemyError, StoreError) as error:
            log.warning("Could not draw a grid yet.", error=str(error.args[0]))

    def _due(self) -> Sequence[int]:
        with self._database.begin() as session:
            query = select(Job.id).where(Job.awaits_grid, Job.finished_at.is_not(None)).order_by(Job.id).limit(20)
            return session.scalars(query).all()


def draw_job(database: Database, store: Store, job_id: int) -> int:
    """Draw and publish all grids of a job in the place of those it had; return how many. Raises StoreError.

    The keys name the attempts that the job took in all: after a crash the same objects are put again, and
    after a retry none of them.
    """
    with database.begin() as session:
        request = JobRequest.model_validate(session.get_one(Job, job_id).request)
        frames = _frames(session, job_id)
        attempts = session.scalar(select(func.sum(Task.attempt)).where(Task.job_id == job_id))
    drawn = []
    for number, frame in enumerate(sorted(frames, key=lambda frame: (frame.prompt, frame.repeat))[:_MOST_GRIDS]):
        content = _png(_draw(request, frame, frames[frame], store))
        key = f"grids/{job_id}/{number}-{attempts}.png"
        store.put(key, content[0], "image/png")
        drawn.append((_title(request, frame), _artifact(key, *content)))
    with database.begin() as session:
        _publish(session, job_id, drawn)
    log.info("Drew the grids of a sweep.", job_id=job_id, grids=len(drawn))
    return len(drawn)


def _frames(session: Session, job_id: int) -> Mapping[Frame, Planes]:
    """The keys of the job's images, by grid, plane and place."""
    query = (
        select(Task.cell, Artifact.key)
        .join(Result, Result.task_id == Task.id)
        .join(Artifact, Artifact.id == Result.image_id)
        .where(Task.job_id == job_id, Task.cell.is_not(None))
    )
    found: dict[Frame, dict[int, dict[Place, str]]] = defaultdict(lambda: defaultdict(dict))
    for cell, key in session.execute(query):
        assert cell is not None, "the query asks for those in a sweep"
        prompt, x, y, z, repeat = cell
        found[Frame(prompt, repeat)][z][x, y] = key
    return found


def _draw(request: JobRequest, frame: Frame, planes: Planes, store: Store) -> Image.Image:
    columns, rows = _columns_and_rows(request)
    sheets = [
        draw_sheet(Sheet(_plane_title(request, z), columns, rows), _pictures(store, keys))
        for z, keys in sorted(planes.items())
    ]
    return join_sheets(_title(request, frame), sheets)


def _columns_and_rows(request: JobRequest) -> tuple[list[str], list[str]]:
    if request.combine == "zip":
        count = len(request.axes[0].values)
        return [", ".join(label(axis, index) for axis in request.axes) for index in range(count)], [""]
    x, y = (_labels(axis) for axis in (*request.axes, None, None)[:2])
    return x, y


def _plane_title(request: JobRequest, z: int) -> str:
    """The value of the third axis, where there is one."""
    return label(request.axes[2], z) if len(request.axes) == 3 and request.combine == "product" else ""


def _title(request: JobRequest, frame: Frame) -> str:
    """The prompt, unless an axis sweeps it, and which of several images of it."""
    is_swept = any(axis.field == "prompt" for axis in request.axes)
    row = request.prompts[frame.prompt]
    title = request.title if is_swept else row.prompt
    return (
        f"{title} ({frame.repeat + 1})" if (row.images_per_prompt or request.images_per_prompt or 1) > 1 else title
    )


def _labels(axis: Axis | None) -> list[str]:
    return [label(axis, index) for index in range(len(axis.values))] if axis else [""]


def _pictures(store: Store, keys: Mapping[Place, str]) -> dict[Place, Image.Image]:
    """The images, no larger than a tile: many large ones would not fit into memory. What is missing is left out."""
    found = {}
    for place, key in keys.items():
        with suppress(ObjectMissing), Image.open(io.BytesIO(store.get(key))) as image:
            picture = image.convert("RGB")
            picture.thumbnail((512, 512))
            found[place] = picture
    return found


def _png(grid: Image.Image) -> tuple[bytes, int, int]:
    buffer = io.BytesIO()
    grid.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue(), grid.width, grid.height


def _artifact(key: str, content: bytes, width: int, height: int) -> dict[str, object]:
    return {
        "role": "grid",
        "key": key,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        "media_type": "image/png",
        "width": width,
        "height": height,
    }


def _publish(session: Session, job_id: int, artifacts: Sequence[tuple[str, dict[str, object]]]) -> None:
    """Put new grids in the place of the old, unless the job is gone, or was retried and is drawn again later."""
    job = session.execute(select(Job).where(Job.id == job_id).with_for_update(of=Job)).scalar_one_or_none()
    if job is None or job.finished_at is None:
        _discard(session, [str(values["key"]) for _, values in artifacts])
        return
    _take_away(session, job_id)
    for number, (title, values) in enumerate(artifacts):
        artifact_id = session.scalars(insert(Artifact).values(values).returning(Artifact.id)).one()
        session.execute(insert(Grid).values(job_id=job_id, number=number, title=title, artifact_id=artifact_id))
    session.execute(update(Job).where(Job.id == job_id).values(awaits_grid=False))
    record(session, "job.grids", job_id=job_id, reason=f"{len(artifacts)} drawn")


def _take_away(session: Session, job_id: int) -> None:
    gone = session.scalars(delete(Grid).where(Grid.job_id == job_id).returning(Grid.artifact_id)).all()
    _discard(session, session.scalars(delete(Artifact).where(Artifact.id.in_(gone)).returning(Artifact.key)).all())


def _discard(session: Session, keys: Sequence[str]) -> None:
    if keys:
        session.execute(insert(Discard), [{"key": key} for key in keys])


def grids(session: Session, job_id: int) -> Sequence[Grid]:
    """The job's grids, in order."""
    return session.scalars(select(Grid).where(Grid.job_id == job_id).order_by(Grid.number)).all()

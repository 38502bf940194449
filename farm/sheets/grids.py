"""The grids of sweeps: drawn once every image of the job is final, and published together.

One process at a time draws them (see `farm.upkeep.gridmaker`), and nobody else touches their objects. Each drawing
has keys of its own, committed to `discards` before the objects are put, and taken out of there by the
transaction that publishes them: what a crash leaves behind is deleted in the next round.
"""

import hashlib
import io
import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from PIL import Image
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from farm.db.connection import Database
from farm.db.events import record
from farm.db.tables.artifacts import Artifact, Discard, Grid, Result
from farm.db.tables.jobs import Job, Task
from farm.errors import ObjectMissing
from farm.intake.request import Axis, JobRequest
from farm.intake.sweeps.sweep import label
from farm.sheets.layout import Figure, Place, Sheet, Size, TooLarge
from farm.store.keys import GRIDS, grid_key
from farm.store.protocol import Store, delete_each

_MOST_GRIDS = 100


@dataclass(frozen=True)
class Frame:
    """What one grid shows: a prompt, and one repeat of its images, from 0. The third axis lies inside it."""

    prompt: int
    repeat: int


Planes = Mapping[int, Mapping[Place, str]]
"""The keys of images by their place, for each value of the third axis."""


@dataclass(frozen=True)
class _Drawn:
    """A finished picture of a grid."""

    title: str
    content: bytes
    size: Size


def delete_discarded(database: Database, store: Store) -> None:
    """Delete the objects of grids that nothing names any more. Only while nobody draws. Raises StoreOutage."""
    is_ours = Discard.key.startswith(GRIDS)
    with database.begin() as session:
        keys = session.scalars(select(Discard.key).where(is_ours)).all()
    gone = delete_each(store, keys)
    with database.begin() as session:
        session.execute(delete(Discard).where(Discard.key.in_(gone)))


def draw_job(database: Database, store: Store, job_id: int) -> int:
    """Draw and publish all grids of a job in the place of those it had; return how many.

    Raises StoreError, and then nothing is published: an image that cannot be read now leaves no gap.
    """
    with database.begin() as session:
        request = JobRequest.model_validate(session.get_one(Job, job_id).request)
        largest, frames = _frames(session, job_id)
    token = secrets.token_hex(8)
    artifacts = []
    for number, drawn in enumerate(_drawings(request, frames, largest, store)):
        artifact = _artifact(grid_key(job_id, number, token), drawn)
        with database.begin() as session:
            session.execute(insert(Discard).values(key=artifact["key"]))
        store.put(str(artifact["key"]), drawn.content, "image/png")
        artifacts.append((drawn.title, artifact))
    with database.begin() as session:
        _publish(session, job_id, artifacts, left_out=len(frames) - len(artifacts))
    return len(artifacts)


def _drawings(request: JobRequest, frames: Mapping[Frame, Planes], largest: Size, store: Store) -> Iterator[_Drawn]:
    """One after the other: each may be large."""
    for frame in sorted(frames, key=lambda frame: (frame.prompt, frame.repeat))[:_MOST_GRIDS]:
        with suppress(TooLarge):
            figure = _figure(request, frame, sorted(frames[frame]), largest)
            for number, (_, keys) in enumerate(sorted(frames[frame].items())):
                for place, key in keys.items():
                    # What is missing or damaged leaves a gap.
                    with suppress(ObjectMissing, OSError), Image.open(io.BytesIO(store.get(key))) as image:
                        figure.paste(number, place, image)
            yield _Drawn(_title(request, frame), figure.png(), figure.size)


def _frames(session: Session, job_id: int) -> tuple[Size, Mapping[Frame, Planes]]:
    """The keys of the job's images, by grid, plane and place; and the size of the largest."""
    query = (
        select(Task.cell, Artifact.key, Artifact.width, Artifact.height)
        .join(Result, Result.task_id == Task.id)
        .join(Artifact, Artifact.id == Result.image_id)
        .where(Task.job_id == job_id, Task.cell.is_not(None))
    )
    found: dict[Frame, dict[int, dict[Place, str]]] = defaultdict(lambda: defaultdict(dict))
    largest = (1, 1)
    for cell, key, width, height in session.execute(query):
        assert cell is not None, "the query asks for those in a sweep"
        prompt, x, y, z, repeat = cell
        found[Frame(prompt, repeat)][z][x, y] = key
        largest = max(largest[0], width), max(largest[1], height)
    return largest, found


def _figure(request: JobRequest, frame: Frame, planes: Sequence[int], largest: Size) -> Figure:
    columns, rows = _columns_and_rows(request)
    sheets = [Sheet(_plane_title(request, z), columns, rows) for z in planes]
    return Figure(_title(request, frame), sheets, largest)


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


def _artifact(key: str, drawn: _Drawn) -> dict[str, object]:
    return {
        "role": "grid",
        "key": key,
        "sha256": hashlib.sha256(drawn.content).hexdigest(),
        "size_bytes": len(drawn.content),
        "media_type": "image/png",
        "width": drawn.size[0],
        "height": drawn.size[1],
    }


def _publish(
    session: Session, job_id: int, artifacts: Sequence[tuple[str, dict[str, object]]], left_out: int
) -> None:
    """Put new grids in the place of the old, unless the job is gone, or was retried and is drawn again later."""
    job = session.execute(select(Job).where(Job.id == job_id).with_for_update(of=Job)).scalar_one_or_none()
    if job is None or job.finished_at is None:
        return
    _take_away(session, job_id)
    for number, (title, values) in enumerate(artifacts):
        artifact_id = session.scalars(insert(Artifact).values(values).returning(Artifact.id)).one()
        session.execute(insert(Grid).values(job_id=job_id, number=number, title=title, artifact_id=artifact_id))
    session.execute(delete(Discard).where(Discard.key.in_([str(values["key"]) for _, values in artifacts])))
    session.execute(update(Job).where(Job.id == job_id).values(awaits_grid=False))
    said = f"{len(artifacts)} drawn" + (f", {left_out} left out: too many, or too large" if left_out else "")
    record(session, "job.grids", job_id=job_id, reason=said)


def _take_away(session: Session, job_id: int) -> None:
    gone = session.scalars(delete(Grid).where(Grid.job_id == job_id).returning(Grid.artifact_id)).all()
    keys = session.scalars(delete(Artifact).where(Artifact.id.in_(gone)).returning(Artifact.key)).all()
    if keys:
        session.execute(insert(Discard), [{"key": key} for key in keys])

"""Uploads: pictures that users sent, kept in the store under the sha256 of what is kept, while a job needs them.

The object and its rows come and go together, although nothing spans the store and Postgres:

- A process that puts or deletes an input's object holds the lock on its key (`farm.db.keylock`), outside any
  transaction.
- Before the object is put, its key is committed to `discards`; the rows of the upload are inserted, and the key
  taken out again, by one transaction after. A crash between leaves an object that is still to be discarded.
- That transaction runs on the connection that holds the lock: who has lost the one cannot commit the other.
- The rows of an old upload are deleted together with writing its key to `discards`. The process that then deletes
  the object looks, under the lock, whether the key still stands there: a new upload of the picture takes it out.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import ARRAY, Connection, Text, any_, delete, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from farm.config import Settings
from farm.db import keylock
from farm.db.connection import Database
from farm.db.tables.artifacts import Artifact, Discard, JobInput, Upload
from farm.errors import FieldProblem, InvalidRequest, NotFound
from farm.pictures.clean import MEDIA_TYPE, CleanPicture, PictureLimits, PictureRole, clean
from farm.reports.shapes import UploadReport
from farm.store.keys import INPUTS, input_key
from farm.store.protocol import Store, delete_each


@dataclass(frozen=True)
class Kept:
    """An upload as it is kept now; `is_new` says that it was not before."""

    report: UploadReport
    is_new: bool


@dataclass(frozen=True)
class Desk:
    """Where pictures are handed in: what keeping one takes."""

    database: Database
    store: Store
    settings: Settings
    user: str = ""
    """Who hands them in: nobody's pictures hold up another's."""

    @property
    def limits(self) -> PictureLimits:
        return PictureLimits(self.settings.max_upload_bytes, self.settings.max_upload_pixels)


def keep(desk: Desk, content: bytes, *, role: PictureRole, field: str = "image") -> Kept:
    """Clean a picture and keep it for `keep_uploads_hours`, or longer where a job needs it.

    Sending the same picture again is harmless: it counts as used now, and its object is put again, should
    the store have lost it. Raises InvalidRequest, naming the field; Busy; StoreError.
    """
    cleaned = clean(content, role=role, limits=desk.limits, field=field, user=desk.user)
    key = input_key(cleaned.sha256)
    with keylock.holding(desk.database, key) as connection:
        with connection.begin():
            is_new = not _touch(connection, cleaned.sha256)
            if is_new:
                connection.execute(upsert(Discard).values(key=key).on_conflict_do_nothing())
        desk.store.put(key, cleaned.content, MEDIA_TYPE)
        if is_new:
            with connection.begin():
                _insert(connection, cleaned, role)
    report = _report(role, cleaned, len(cleaned.content), desk)
    return Kept(report.model_copy(update={"note": cleaned.note}), is_new)


def _touch(connection: Connection, sha256: str) -> bool:
    """Whether the upload is there, and then used now. Waits for a process that is deleting its rows."""
    touched = update(Upload).where(Upload.sha256 == sha256).values(used_at=func.now())
    return connection.execute(touched).rowcount == 1


def _insert(connection: Connection, cleaned: CleanPicture, role: PictureRole) -> None:
    artifact = insert(Artifact).values(
        role=role,
        key=input_key(cleaned.sha256),
        sha256=cleaned.sha256,
        size_bytes=len(cleaned.content),
        media_type=MEDIA_TYPE,
        width=cleaned.width,
        height=cleaned.height,
    )
    artifact_id = connection.execute(artifact.returning(Artifact.id)).scalar_one()
    connection.execute(insert(Upload).values(sha256=cleaned.sha256, artifact_id=artifact_id))
    connection.execute(delete(Discard).where(Discard.key == input_key(cleaned.sha256)))


def _report(role: str, picture: CleanPicture | Artifact, size_bytes: int, desk: Desk) -> UploadReport:
    return UploadReport(
        id=picture.sha256,
        role=role,
        width=picture.width,
        height=picture.height,
        media_type=MEDIA_TYPE,
        size_bytes=size_bytes,
        url=desk.store.link(input_key(picture.sha256), seconds=desk.settings.link_seconds),
    )


def show(session: Session, desk: Desk, sha256: str) -> UploadReport:
    """The upload, with a link to it. Raises NotFound."""
    upload = session.get(Upload, sha256)
    if upload is None:
        raise NotFound(_unknown(sha256))
    return _report(upload.artifact.role, upload.artifact, upload.artifact.size_bytes, desk)


def lock_sizes(session: Session, digests: Collection[str]) -> Mapping[str, tuple[int, int]]:
    """Lock the uploads that are there until the commit, and return the width and height in pixels of each.

    They go as one array: a statement has room for 65,535 parameters, and a job may name more uploads.
    The lock is what a deletion waits for, and nobody else: any number of jobs may take it at once.
    """
    if not digests:
        return {}
    query = (
        select(Upload.sha256, Artifact.width, Artifact.height)
        .join(Artifact, Artifact.id == Upload.artifact_id)
        .where(Upload.sha256 == any_(literal(list(digests), ARRAY(Text))))
        .with_for_update(of=Upload, key_share=True, read=True)
    )
    return {sha256: (width, height) for sha256, width, height in session.execute(query)}


def require_uploads(session: Session, job_id: int, digests: Collection[str], *, field: str = "image") -> None:
    """Keep these uploads as long as the job is there. Raises InvalidRequest for one that is not."""
    there = lock_sizes(session, digests)
    if missing := sorted(set(digests) - there.keys()):
        raise InvalidRequest([FieldProblem(field, _unknown(sha256)) for sha256 in missing])
    if there:
        session.execute(insert(JobInput), [{"job_id": job_id, "sha256": sha256} for sha256 in sorted(there)])


def discard(database: Database, store: Store) -> int:
    """Delete the objects of uploads that are gone, or never came to be; return how many.

    One that is being sent at this moment is passed over, and so is one that the store refuses to delete.
    Raises StoreOutage.
    """
    with database.begin() as session:
        keys = session.scalars(select(Discard.key).where(Discard.key.startswith(INPUTS))).all()
    return sum(_discard(database, store, key) for key in keys)


def _discard(database: Database, store: Store, key: str) -> bool:
    with keylock.trying(database, key) as connection:
        if connection is None:
            return False
        with connection.begin():
            is_due = connection.execute(select(Discard.key).where(Discard.key == key)).first() is not None
        is_gone = is_due and bool(delete_each(store, [key]))
        if is_gone:
            with connection.begin():
                connection.execute(delete(Discard).where(Discard.key == key))
        return is_gone


def _unknown(sha256: str) -> str:
    return f"there is no upload {sha256}; it may have been unused for too long. Send it again"

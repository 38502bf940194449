"""The intake: a request becomes a job with all its tasks, or is refused with everything that is wrong with it.

The way of a request from the form to the rows, which is one way for the portal and the API; no module is entered
twice:

1. `web.portal.submit.page` reads the form, `web.api.jobs` the JSON.
2. `farm.intake.request.parse_request` checks each field by itself.
3. `farm.intake.submit.accept` takes the following steps, and is all that the portal and the API call.
4. `farm.intake.fingerprints.fingerprint` hashes the request as it was sent.
5. `farm.intake.repeats.find_repeat` looks for the job that the same key made before.
6. `farm.intake.attach.attach_pictures` keeps the pictures that the request brings, as uploads.
7. `farm.intake.library.read_library` reads what the request may name.
8. `farm.intake.unfold.expand` unfolds the prompts into groups of equal images, and takes steps 9 to 13.
9. `farm.intake.sweeps.sweep.Sweep` spans the points of the axes; then for each prompt at each point:
10. `farm.intake.sweeps.pointsettings.PromptSettings` joins the settings of job, prompt and axes, the styles and
    the LoRA weights.
11. `farm.intake.dynamicprompts.unfold_dynamic` chooses among `{a|b}` and `__wildcards__`.
12. `farm.intake.resolve.resolve_spec` looks names up, resolves width and height by `farm.spec.sizes`, and makes
    the spec.
13. `farm.intake.promptwarnings.warnings_of_rows` looks through the prompts of the finished specs.
14. `farm.intake.rows.insert_job` locks what the specs name and inserts job, counters and tasks.

`farm.intake.fieldpaths` names the field of what does not fit, and `farm.spec.budget` bounds the work of all
steps together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from farm.crashpoints import reach
from farm.errors import FieldProblem, InvalidRequest
from farm.intake import estimates
from farm.intake.attach import AttachedRequest, attach_pictures
from farm.intake.library import read_library
from farm.intake.repeats import AcceptedJob, Identity, find_repeat
from farm.intake.request import JobRequest
from farm.intake.rows import NewJob, insert_job
from farm.intake.unfold import JobLimits, Unfolding, expand
from farm.pictures.uploads import Desk
from farm.queue.doorbell import Doorbell
from farm.queue.workers import fleet
from farm.reports import prospects
from farm.reports.expected import Expected
from farm.spec.workclass import class_of

_MOST_RINGS = 16


@dataclass(frozen=True)
class Preview:
    """What a request would become. `seconds` is None where nothing like it was rendered recently.

    `expected` is when it would start and end if it were submitted now; None where nobody plans its pool.
    """

    images: int
    batches: int
    seconds: float | None
    warnings: tuple[str, ...]
    expected: Expected | None = None


def accept(
    desk: Desk, doorbell: Doorbell, request: JobRequest, *, idempotency_key: str | None = None
) -> AcceptedJob:
    """Accept a request of the desk's user as a job: store it with all its tasks in one transaction, then ring.

    1. A repeat under its key is answered with the first job, before any picture is read again.
    2. Keep its pictures, read what it may name, and unfold its prompts, drawing open seeds.
    3. Insert job, counters and tasks; COMMIT. From here on the job cannot be lost.
    4. Ring, best effort: the keeper rings again if this is lost.

    Raises InvalidRequest with every problem, IdempotencyConflict when the key belongs to another request;
    Busy and StoreError where its pictures cannot be taken now.
    """
    # Before the pictures are attached: a repeat brings them again, and is compared with the request as it was sent.
    identity = Identity(desk.user, idempotency_key, request.fingerprint)
    with desk.database.begin() as session:
        if repeat := find_repeat(session, identity):
            return repeat
    attached = attach_pictures(desk, request)
    unfolding = _unfold(desk, attached)
    return _store(desk, doorbell, identity, attached, unfolding)


def preview(desk: Desk, request: JobRequest) -> Preview:
    """Check and unfold a request, and store nothing but its pictures. Raises as `accept`, but for repeats."""
    attached = attach_pictures(desk, request)
    unfolding = _unfold(desk, attached)
    with desk.database.begin() as session:
        serving = fleet.workers_in_service(session, request.pool)
        seconds = estimates.seconds(session, unfolding.groups, max(1, serving))
        expected = _prospect(session, desk.user, request, unfolding)
    return Preview(
        images=unfolding.images,
        batches=len({group.batch_key for group in unfolding.groups}),
        seconds=seconds,
        warnings=(*_warnings_of_pool(request, serving), *attached.notes, *unfolding.warnings),
        expected=expected,
    )


def _prospect(session: Session, owner: str, request: JobRequest, unfolding: Unfolding) -> Expected | None:
    """When the job starts and ends; of one that is not to start now, nobody says so."""
    if request.not_before and not _is_past(request.not_before, datetime.now(UTC)):
        return None
    return estimates.prospect(
        session,
        unfolding.groups,
        owner=owner,
        pool=request.pool,
        priority=request.priority,
        class_=class_of(request.class_, unfolding.images, has_deadline=request.deadline is not None),
    )


def _unfold(desk: Desk, attached: AttachedRequest) -> Unfolding:
    """Unfold what the farm can do; raise InvalidRequest for what it cannot."""
    with desk.database.begin() as session:
        library = read_library(session, attached.request, attached.pictures)
    problems = list(_time_problems(attached.request))
    limits = JobLimits(images=desk.settings.max_images_per_job, side=desk.settings.max_side)
    try:
        # Outside any transaction: this may take seconds, and Postgres ends a transaction that is held open.
        unfolding = expand(attached.request, library, limits)
    except InvalidRequest as error:
        problems += error.problems
    if problems:
        raise InvalidRequest(problems)
    return unfolding


def _time_problems(request: JobRequest) -> Iterator[FieldProblem]:
    if _is_past(request.deadline, datetime.now(UTC)):
        yield FieldProblem("deadline", "has passed already")
    elif request.not_before and _is_past(request.deadline, request.not_before):
        yield FieldProblem("deadline", "must be later than not_before")


def _is_past(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now


def _store(
    desk: Desk, doorbell: Doorbell, identity: Identity, attached: AttachedRequest, unfolding: Unfolding
) -> AcceptedJob:
    """Store the job with what is expected of it, then ring for it."""
    request, kept = attached.request, (*attached.notes, *unfolding.warnings)
    new = NewJob(identity, attached, unfolding.groups, kept)
    with desk.database.begin() as session:
        expected = _prospect(session, identity.owner, request, unfolding)
        job_id = insert_job(session, new, attempt_limit=desk.settings.max_attempts)
        if job_id is None:
            # A rival with the same key committed since we looked.
            repeat = find_repeat(session, identity)
            assert repeat is not None, "the rival's row made this insert do nothing"
            return repeat
        if expected is not None:
            prospects.keep(session, job_id, expected)
        serving = fleet.workers_in_service(session, request.pool)
        reach("portal.accepting")
    reach("portal.accepted")
    doorbell.ring(request.pool, times=min(unfolding.images, serving, _MOST_RINGS))
    reach("portal.rung")
    warnings = (*_warnings_of_pool(request, serving), *kept)
    return AcceptedJob(job_id, unfolding.images, is_replay=False, warnings=warnings)


def _warnings_of_pool(request: JobRequest, serving: int) -> tuple[str, ...]:
    if serving:
        return ()
    return (f"No worker serves the pool {request.pool!r} now; the job waits until one does.",)

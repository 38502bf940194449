"""What a former release and this one do side by side on the farm in use, and what must come of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from farm.queue import steering
from farm.upkeep.keeper import Keeper
from tests.bench.former.record import OLD_WORKER, PICTURE
from tests.bench.former.release import FormerRelease
from tests.factories import Scene

_QUEUED = "SELECT count(*) FROM tasks WHERE job_id = :job_id AND status = 'queued'"
_LEFT = "SELECT count(*) FROM tasks WHERE job_id = :job_id AND status <> 'succeeded'"

Play = Callable[[FormerRelease, Scene], None]
"""Raises AssertionError or FormerReleaseFailed where a promise does not hold."""


@dataclass(frozen=True)
class Trial:
    """What is tried. `former` is the part of the former release that takes part beside this one's others."""

    former: str
    what: str
    play: Play


def _submit(scene: Scene) -> int:
    """A job of six images that comes before all others, accepted by this release."""
    return scene.submit(prompts=["a lighthouse"] * 6, priority=100, **PICTURE)


def _let_the_keeper_work(scene: Scene) -> None:
    Keeper(scene.settings, scene.database, scene.doorbell).make_round()


def _finish(scene: Scene, job_id: int) -> None:
    """This release renders what is left of a job, and all that comes before it."""
    worker = scene.worker("finishing")
    while scene.scalar(_LEFT, job_id=job_id) and (batch := scene.claim(worker)):
        assert all(scene.publish(lease) for lease in batch), "a publish of this release is refused"
    _let_the_keeper_work(scene)
    assert scene.job(job_id).status == "succeeded", f"job {job_id} is {scene.job(job_id).status}"


def _old_worker_renders(former: FormerRelease, scene: Scene) -> None:
    job_id = _submit(scene)
    worker_id = former.do("register", "1")
    while batch := former.do("claim", worker_id, 4):
        assert all(former.do("publish", *attempt) for attempt in batch), (
            "a publish of the former release is refused"
        )
    _let_the_keeper_work(scene)
    assert scene.job(job_id).status == "succeeded", "the job does not end"


def _both_workers_render(former: FormerRelease, scene: Scene) -> None:
    job_id = _submit(scene)
    theirs = former.do("claim", former.do("register", "1"), 2)
    ours = scene.claim(scene.worker("new"), limit=2)
    assert theirs, "the former release gets nothing"
    assert ours, "this release gets nothing"
    assert not {task for task, _attempt in theirs} & {lease.task_id for lease in ours}, "a task is claimed twice"
    assert all(scene.publish(lease) for lease in ours), "a publish of this release is refused"
    assert all(former.do("publish", *attempt) for attempt in theirs), "a publish of the former release is refused"
    _finish(scene, job_id)


def _old_worker_ends_the_job(former: FormerRelease, scene: Scene) -> None:
    """It publishes the last image while this release's publishes may still be appended changes."""
    job_id = _submit(scene)
    [last] = former.do("claim", former.do("register", "1"), 1)
    worker = scene.worker("new")
    while scene.scalar(_QUEUED, job_id=job_id):
        assert all(scene.publish(lease) for lease in scene.claim(worker)), "a publish of this release is refused"
    assert scene.job(job_id).status == "active", "the job ends before its last image"
    assert former.do("publish", *last), "a publish of the former release is refused"
    _let_the_keeper_work(scene)
    assert scene.job(job_id).status == "succeeded", "the job does not end"


def _keeper_spares_old_leases(former: FormerRelease, scene: Scene) -> None:
    _submit(scene)
    theirs = former.do("claim", former.do("register", "1"), 2)
    _let_the_keeper_work(scene)
    kept = former.do("renew", OLD_WORKER, *theirs)
    assert sorted(map(tuple, kept)) == sorted(map(tuple, theirs)), "a live lease is taken back"


def _old_worker_dies(former: FormerRelease, scene: Scene) -> None:
    job_id = _submit(scene)
    theirs = former.do("claim", former.do("register", "1"), 2)
    scene.execute(f"UPDATE tasks SET lease_until = now() - interval '1 s' WHERE id = {theirs[0][0]}")
    _let_the_keeper_work(scene)
    assert former.do("publish", *theirs[0]) is False, "an image is published after its lease was taken back"
    assert former.do("publish", *theirs[1]), "a publish of the former release is refused"
    _finish(scene, job_id)


def _cancel_reaches_old_worker(former: FormerRelease, scene: Scene) -> None:
    job_id = _submit(scene)
    theirs = former.do("claim", former.do("register", "1"), 2)
    steering.cancel(scene.database, job_id)
    assert former.do("renew", OLD_WORKER, *theirs) == [], "it keeps its leases"
    assert not former.do("publish", *theirs[0]), "an image is published of a job that was called off"
    assert scene.job(job_id).status == "cancelled", "the job is not called off"


def _old_worker_fails(former: FormerRelease, scene: Scene) -> None:
    job_id = _submit(scene)
    worker_id = former.do("register", "1")
    first, second = former.do("claim", worker_id, 2)
    ours = scene.claim(scene.worker("new"), limit=2)
    assert former.do("fail", *first), "a failed image is not tried again"
    former.do("hand_back", *second)
    assert all(scene.publish(lease) for lease in ours), "a publish of this release is refused"
    _finish(scene, job_id)


def _pause_reaches_old_worker(former: FormerRelease, scene: Scene) -> None:
    job_id = _submit(scene)
    steering.pause(scene.database, job_id)
    theirs = former.do("claim", former.do("register", "1"), 8)
    claimed = scene.column("SELECT job_id FROM tasks WHERE status = 'running'")
    assert theirs, "it gets nothing at all"
    assert job_id not in claimed, "a paused job is claimed"


def _old_portal_submits(former: FormerRelease, scene: Scene) -> None:
    job_id = former.do("submit", "ada", prompts=["a lighthouse"], images_per_prompt=3, priority=100, **PICTURE)
    _let_the_keeper_work(scene)
    assert {lease.job_id for lease in scene.claim(scene.worker("new"), limit=1)} == {job_id}, "it is not claimed"


def _old_portal_pauses(former: FormerRelease, scene: Scene) -> None:
    job_id = _submit(scene)
    former.do("pause", job_id)
    assert job_id not in {lease.job_id for lease in scene.claim(scene.worker("new"))}, "a paused job is claimed"


def _old_portal_resumes(former: FormerRelease, scene: Scene) -> None:
    job_id = _submit(scene)
    steering.pause(scene.database, job_id)
    former.do("resume", job_id)
    _let_the_keeper_work(scene)
    assert {lease.job_id for lease in scene.claim(scene.worker("new"))} == {job_id}, "a resumed job is not claimed"


def _old_portal_cancels(former: FormerRelease, scene: Scene) -> None:
    job_id = _submit(scene)
    ours = scene.claim(scene.worker("new"), limit=2)
    former.do("cancel", job_id)
    assert not scene.publish(ours[0]), "an image is published of a job that was called off"
    _let_the_keeper_work(scene)
    assert scene.job(job_id).status == "cancelled", "the job is not called off"


def _old_portal_shows(former: FormerRelease, scene: Scene) -> None:
    job_id = _submit(scene)
    ours = scene.claim(scene.worker("new"), limit=2)
    shown = former.do("show", job_id)
    assert shown["running"] == len(ours), f"it shows {shown['running']} images as running, and {len(ours)} are"


def _old_keeper_works(former: FormerRelease, scene: Scene) -> None:
    _submit(scene)
    ours = scene.claim(scene.worker("new"), limit=2)
    former.do("expire")
    assert all(scene.publish(lease) for lease in ours), "a live lease is taken back"


TRIALS: Sequence[Trial] = (
    Trial("worker", "renders a job that was accepted since", _old_worker_renders),
    Trial("worker", "renders the same job as a worker of this release", _both_workers_render),
    Trial("worker", "publishes the last image of a job", _old_worker_ends_the_job),
    Trial("worker", "keeps its leases beside the keeper", _keeper_spares_old_leases),
    Trial("worker", "loses a lease, and cannot publish", _old_worker_dies),
    Trial("worker", "hears of a job that is called off", _cancel_reaches_old_worker),
    Trial("worker", "leaves a paused job alone", _pause_reaches_old_worker),
    Trial("worker", "fails and hands back", _old_worker_fails),
    Trial("portal", "accepts a job", _old_portal_submits),
    Trial("portal", "pauses a job", _old_portal_pauses),
    Trial("portal", "resumes a job", _old_portal_resumes),
    Trial("portal", "calls off a job that is rendered", _old_portal_cancels),
    Trial("portal", "shows a job that is rendered", _old_portal_shows),
    Trial("keeper", "ends leases", _old_keeper_works),
)

"""The snapshot of a farm is what its rows say."""

import pytest

from farm.dispatch.snapshot import Account, Backlog, Group, Seat, Serving, WorkClass
from farm.planner.ledger import Ledger
from farm.planner.measuring.learn import Learned, Sample
from farm.planner.reading.backlogs import MOST_GROUPS
from farm.planner.reading.snapshots import Known, read_pools
from tests.factories import Scene
from tests.farm.planner.farms import HandMade


@pytest.fixture
def farm(scene: Scene) -> HandMade:
    return HandMade(scene)


def summed(backlog: Backlog) -> tuple[int, int, str, int, int]:
    return backlog.group, backlog.owner, str(backlog.class_), backlog.priority, backlog.images


def test_an_empty_farm_has_an_empty_snapshot(farm: HandMade) -> None:
    snapshot = farm.look().snapshot
    assert (snapshot.groups, snapshot.backlogs, snapshot.devices, snapshot.accounts) == ((), (), (), ())


def test_lines_of_a_group_are_summed_by_owner_class_and_priority(farm: HandMade) -> None:
    local, ana = farm.owner(), farm.owner("ana")
    group = farm.group(farm.checkpoint())
    farm.line(group, local, queued=4, succeeded=1)
    farm.line(group, local, queued=3, running=1)
    farm.line(group, local, queued=5, succeeded=1, priority=70)
    farm.line(group, ana, queued=1, **{"class": "interactive"})
    assert [summed(b) for b in farm.look().snapshot.backlogs] == [
        (group, local, "bulk", 50, 7),
        (group, local, "bulk", 70, 5),
        (group, ana, "interactive", 50, 1),
    ]


def test_the_first_images_of_what_has_not_begun_are_interactive(farm: HandMade) -> None:
    group, local = farm.group(farm.checkpoint()), farm.owner()
    farm.line(group, local, queued=10)
    farm.line(group, local, queued=1)
    farm.line(group, local, queued=10, running=1)
    found = [summed(b)[2:] for b in farm.look().snapshot.backlogs]
    assert found == [("bulk", 50, 18), ("interactive", 50, 3)]


def test_appended_changes_count_before_they_are_folded(farm: HandMade) -> None:
    group, local = farm.group(farm.checkpoint()), farm.owner()
    job_id = farm.line(group, local, queued=10)
    done = farm.line(group, local, queued=2)
    for job, queued in ((job_id, -4), (done, -2)):
        farm.scene.execute(
            "INSERT INTO deltas (job_id, batch_key, queued, running) VALUES (:job, 'k', :queued, -:queued)",
            job=job,
            queued=queued,
        )
    assert [summed(b)[2:] for b in farm.look().snapshot.backlogs] == [("bulk", 50, 6)]


def test_what_is_not_ready_is_not_there(farm: HandMade) -> None:
    group, local = farm.group(farm.checkpoint()), farm.owner()
    farm.line(group, local, is_ready=False)
    farm.scene.execute("UPDATE counters SET is_open = false WHERE job_id = :id", id=farm.line(group, local))
    farm.line(farm.group(farm.checkpoint("other"), pool="night"), local, pool="night")
    assert farm.look().snapshot.backlogs == ()


def test_distant_deadlines_are_summed_apart(farm: HandMade) -> None:
    group, local = farm.group(farm.checkpoint()), farm.owner()
    for deadline in (600, 610, 7 * 86400):
        farm.line(group, local, succeeded=1, deadline=deadline, **{"class": "deadline"})
    look = farm.look()
    found = [(b.images, round((b.deadline_at or 0) - look.now, -1)) for b in look.snapshot.backlogs]
    assert found == [(8, 600), (4, 604800)]


def test_jobs_with_a_limit_of_devices_are_summed_apart(farm: HandMade) -> None:
    group, local = farm.group(farm.checkpoint()), farm.owner()
    for limit in (None, 1, 2):
        farm.line(group, local, succeeded=1, max_devices=limit)
    assert [(b.images, b.max_devices) for b in farm.look().snapshot.backlogs] == [(4, None), (8, 3)]


def test_of_very_many_groups_of_an_owner_at_a_checkpoint_the_first_are_planned(
    farm: HandMade,
) -> None:
    local, ana, checkpoint = farm.owner(), farm.owner("ana"), farm.checkpoint()
    groups = [farm.group(checkpoint, key=f"k{n}") for n in range(MOST_GROUPS + 30)]
    farm.scene.execute(
        "INSERT INTO jobs (owner_id, name, mode, request, status, priority, pool, request_sha256) "
        "SELECT :owner, 'job', 'txt2img', '{}', 'active', 50, 'default', 'x' FROM groups",
        owner=local,
    )
    farm.scene.execute(
        "INSERT INTO counters (job_id, batch_key, owner_id, checkpoint_id, pool, priority, is_open, queued, "
        "group_id, is_ready, ready_at) "
        "SELECT (SELECT min(id) FROM jobs), batch_key, :owner, checkpoint_id, pool, 50, true, 3, id, true, now() "
        "FROM groups",
        owner=local,
    )
    farm.line(groups[-1], ana, queued=1)
    farm.line(groups[-2], local, queued=1, priority=90, succeeded=1)
    found = farm.look().snapshot.backlogs
    mine = [b for b in found if b.owner == local]
    assert len({b.group for b in mine}) == MOST_GROUPS
    assert sum(b.images for b in mine) == 3 * (MOST_GROUPS + 30) + 1
    assert [b.group for b in mine if b.priority == 90] == [groups[-2]]
    last = groups[MOST_GROUPS - 2]
    assert sum(b.images for b in mine if b.group == last) == 3 * 31
    assert [(b.group, b.images) for b in found if b.owner == ana] == [(groups[-1], 1)]


def test_a_group_says_what_it_needs(farm: HandMade) -> None:
    checkpoint = farm.checkpoint()
    group = farm.group(checkpoint, seconds=1.5)
    farm.line(group, farm.owner())
    look = farm.look()
    assert look.snapshot.groups == (Group(group, checkpoint, "sd15", 512 * 512, None, 20.0 * 512 * 512),)
    assert look.stored_seconds == {group: 1.5}


def test_a_device_says_what_it_holds_and_renders(farm: HandMade) -> None:
    local, checkpoint = farm.owner(), farm.checkpoint()
    group = farm.group(checkpoint)
    job_id = farm.line(group, local, running=3)
    busy = farm.worker("cuda:0", status="busy", device_class="H200", memory_bytes=2**37, residents=[checkpoint, 7])
    idle = farm.worker("cuda:1", cached=[checkpoint])
    farm.running(job_id, busy, 3)
    farm.scene.execute(
        "INSERT INTO seats (worker_id, group_id, owner_id, images, reason) VALUES (:w, :g, :o, 4, 'stays')",
        w=busy,
        g=group,
        o=local,
    )
    look = farm.look()
    one, two = look.snapshot.devices
    assert (one.id, one.class_, one.residents, one.serving) == (
        busy,
        "H200",
        (checkpoint, 7),
        Serving(group, local, None, 3),
    )
    assert (one.seat, one.free_at > look.now) == (Seat(busy, group, local, 4, None, "stays"), True)
    assert (two.id, two.class_, two.cached, two.serving) == (idle, "test device", frozenset({checkpoint}), None)
    assert two.free_at <= look.now


def test_a_device_that_does_not_say_so_is_free_when_its_batch_should_end(farm: HandMade) -> None:
    local, group = farm.owner(), farm.group(farm.checkpoint(), seconds=2.0)
    job_id, worker = farm.line(group, local, running=3), farm.worker(status="busy")
    known = Known(Learned())

    def claim(first: int) -> None:
        farm.scene.execute("UPDATE tasks SET status = 'succeeded', lease_until = NULL WHERE status = 'running'")
        farm.running(job_id, worker, 3, first=first)

    def seconds_left() -> float:
        look = farm.look(known=known)
        return look.snapshot.devices[0].free_at - look.now

    farm.scene.execute("UPDATE workers SET free_at = now() - interval '1 hour'")
    claim(0)
    first, then = seconds_left(), seconds_left()
    claim(3)
    assert (first, seconds_left()) == (pytest.approx(6.0), pytest.approx(6.0))
    assert then < first


def test_a_device_is_free_when_it_says(farm: HandMade) -> None:
    farm.worker(status="busy")
    farm.look(known=(known := Known(Learned())))
    farm.scene.execute("UPDATE workers SET free_at = now() + interval '9 seconds', last_seen_at = now()")
    look = farm.look(known=known)
    assert look.snapshot.devices[0].free_at - look.now == pytest.approx(9.0, abs=1.0)


def test_a_device_is_barred_from_what_it_is_kept_from(farm: HandMade) -> None:
    checkpoint = farm.checkpoint()
    farm.worker("cuda:0")
    farm.scene.avoid("host/cuda:0", checkpoint)
    farm.worker("cuda:1")
    farm.scene.drain("host/cuda:1")
    one, two = farm.look().snapshot.devices
    assert (one.barred, one.is_ready, two.is_ready) == (frozenset({checkpoint}), True, False)


def test_of_a_worker_that_started_again_the_newer_row_counts(farm: HandMade) -> None:
    farm.worker("cuda:0")
    again = farm.worker("cuda:0")
    assert [device.id for device in farm.look().snapshot.devices] == [again]


def test_accounts_have_weights_lags_and_what_is_in_flight(farm: HandMade) -> None:
    ana, project = farm.owner("ana", weight=2.0), farm.project("film", weight=3.0)
    group = farm.group(farm.checkpoint(), seconds=2.0)
    job_id = farm.line(group, ana, project=project, running=2)
    farm.running(job_id, farm.worker(status="busy"), 2)
    ledger = Ledger("default")
    ledger.charge((ana, project), 5.0)
    found = farm.look(ledger).snapshot.accounts
    assert found == (Account(ana, project, 2.0, 3.0, -5.0, 1.0),)


def test_a_device_that_renders_for_two_owners_works_for_each_by_its_images(farm: HandMade) -> None:
    ana, local, worker = farm.owner("ana"), farm.owner(), farm.worker(status="busy")
    group = farm.group(farm.checkpoint())
    for owner, images in ((ana, 3), (local, 1)):
        farm.running(farm.line(group, owner, queued=0, running=images), worker, images)
    found = {account.owner: account.running_devices for account in farm.look().snapshot.accounts}
    assert found == {ana: 0.75, local: 0.25}


def test_projects_without_a_weight_are_work_for_none(farm: HandMade) -> None:
    local, group = farm.owner(), farm.group(farm.checkpoint())
    titles = [farm.project(f"title {n}", weight=None) for n in range(3)]
    for project in titles:
        farm.line(group, local, succeeded=1, project=project)
    job_id = farm.line(group, local, queued=0, running=1, project=titles[0])
    farm.running(job_id, farm.worker(status="busy"), 1)
    snapshot = farm.look().snapshot
    assert [(b.project, b.images) for b in snapshot.backlogs] == [(None, 12)]
    assert [d.serving and d.serving.project for d in snapshot.devices] == [None]
    assert [(a.owner, a.project) for a in snapshot.accounts] == [(local, None)]


def test_what_was_owed_for_a_project_that_lost_its_weight_is_owed_to_its_owner(farm: HandMade) -> None:
    local, project, other = farm.owner(), farm.project("film", weight=None), farm.project("games", weight=2.0)
    for project_id, lag in ((0, 1.0), (project, -8.0), (other, 4.0)):
        farm.scene.execute(
            "INSERT INTO shares (pool, owner_id, project_id, lag) VALUES ('default', :owner, :project, :lag)",
            owner=local,
            project=project_id,
            lag=lag,
        )
    with farm.scene.database.begin() as session:
        ledger = Ledger.load(session, "default")
    assert (ledger.lag((local, None)), ledger.lag((local, other))) == (-7.0, 4.0)


def test_the_pools_are_those_with_a_worker_whatever_jobs_name(farm: HandMade) -> None:
    local, checkpoint = farm.owner(), farm.checkpoint()
    for pool in ("day", "made up"):
        farm.line(farm.group(checkpoint, pool=pool), local, pool=pool)
    for pool in ("night", "day", "default"):
        farm.worker(pool=pool)
    farm.worker(pool="over", status="offline")
    with farm.scene.database.begin() as session:
        assert read_pools(session) == ["day", "default", "night"]


def test_interactive_work_is_known_as_such(farm: HandMade) -> None:
    farm.line(farm.group(farm.checkpoint()), farm.owner(), queued=1, **{"class": "interactive"})
    [backlog] = farm.look().snapshot.backlogs
    assert backlog.class_ is WorkClass.INTERACTIVE


def test_speeds_of_sizes_that_were_not_measured_follow_from_others(farm: HandMade) -> None:
    farm.line(farm.group(farm.checkpoint(), pixels=1000), farm.owner())
    farm.worker(device_class="H200")
    learned = Learned()
    learned.observe([Sample("sd15", 1, 500, 10.0, "H200", 2, 1.0)], now=0)
    speeds = farm.look(known=Known(learned)).snapshot.speeds
    assert speeds.batches("sd15", 1000, "H200") == {1: pytest.approx(0.1)}

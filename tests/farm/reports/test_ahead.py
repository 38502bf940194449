"""How many images go first: with what was appended since, and no further than so many lines."""

import pytest
from sqlalchemy import text

from farm.reports import ahead, waiting
from farm.reports.ahead import MOST_LINES, Ahead, Count, read_ahead
from farm.reports.expected import read_outlook
from farm.reports.prospects import read_standing
from tests.factories import Scene, explain, many_lines
from tests.farm.planner.farms import HandMade

_FIGURES = '{"devices": 2, "idle": 0, "demand": 4, "is_saturated": true}'


@pytest.fixture
def farm(scene: Scene) -> HandMade:
    return HandMade(scene)


def plan_it(farm: HandMade, group: int, owner: int) -> None:
    farm.scene.execute("INSERT INTO plans (pool, figures) VALUES ('default', CAST(:f AS jsonb))", f=_FIGURES)
    farm.scene.execute(
        "INSERT INTO outlooks (group_id, owner_id, class, reason, starts_in_low, starts_in_high, "
        "images_per_second) VALUES (:group, :owner, 'bulk', 'busy', 60, 90, 1)",
        group=group,
        owner=owner,
    )


def let_be_claimed(farm: HandMade, job_id: int, images: int) -> None:
    """Claims append so much, and nobody folds it yet."""
    farm.scene.execute(
        "INSERT INTO deltas (job_id, batch_key, queued, running) "
        "SELECT job_id, batch_key, -:images, :images FROM counters WHERE job_id = :job_id",
        job_id=job_id,
        images=images,
    )


def add_lines(farm: HandMade, like: int, count: int) -> None:
    """So many jobs with a line each, like this one's."""
    farm.scene.execute(
        "INSERT INTO jobs (owner_id, name, mode, request, status, priority, pool, request_sha256) "
        "SELECT owner_id, name, mode, request, status, priority, pool, 'copy' FROM jobs, generate_series(1, :n) "
        "WHERE id = :id",
        n=count,
        id=like,
    )
    farm.scene.execute(
        "INSERT INTO counters (job_id, batch_key, owner_id, checkpoint_id, pool, priority, is_open, queued, "
        "                      group_id, is_ready, ready_at, class) "
        "SELECT j.id, batch_key, c.owner_id, checkpoint_id, c.pool, c.priority, true, queued, group_id, true, "
        "       ready_at, class "
        "FROM counters c, jobs j WHERE c.job_id = :id AND j.request_sha256 = 'copy' "
        "AND NOT EXISTS (SELECT FROM counters o WHERE o.job_id = j.id)",
        id=like,
    )


def ahead_of(farm: HandMade, job_id: int) -> Ahead:
    with farm.scene.database.begin() as session:
        [job] = session.execute(text("SELECT owner_id FROM jobs WHERE id = :id"), {"id": job_id})
        return read_ahead(session, job_id, pool="default", owner_id=job.owner_id, priority=50)


def test_what_waits_is_counted_by_how_it_stands_to_the_job(farm: HandMade) -> None:
    group, first, local, last = farm.group(farm.checkpoint()), farm.owner("a"), farm.owner(), farm.owner("z")
    farm.line(group, first, queued=2)
    farm.line(group, local, queued=3)
    farm.line(group, local, queued=100, is_ready=False)
    job_id = farm.line(group, local)
    farm.line(group, local, queued=200)
    farm.line(group, last, queued=5)
    farm.line(group, last, queued=7, priority=60)
    farm.line(group, last, queued=300, priority=40)
    assert ahead_of(farm, job_id) == Ahead(Count(7), Count(3), Count(7))


def test_what_was_claimed_since_the_last_fold_waits_no_more(farm: HandMade) -> None:
    group, local = farm.group(farm.checkpoint(), seconds=2.0), farm.owner()
    older = farm.line(group, local, queued=40, succeeded=1)
    job_id = farm.line(group, local, queued=40, succeeded=1)
    plan_it(farm, group, local)
    let_be_claimed(farm, older, 30)
    assert ahead_of(farm, job_id).older == Count(10)
    with farm.scene.database.begin() as session:
        assert read_outlook(session, job_id).expected.ends_low == pytest.approx(60 + 0.75 * (10 + 40), abs=15)
        standing = read_standing(session, "local", "default", 50)
    assert standing is not None
    assert standing.ahead_seconds == 100


def test_of_very_many_lines_the_first_are_counted(farm: HandMade) -> None:
    group, local, ana = farm.group(farm.checkpoint()), farm.owner(), farm.owner("ana")
    farm.line(group, local, queued=3)
    job_id = farm.line(group, local)
    add_lines(farm, farm.line(group, ana, queued=2), MOST_LINES)
    assert ahead_of(farm, job_id) == Ahead(older=Count(3), others=Count(2 * MOST_LINES, is_all=False))
    farm.worker()
    with farm.scene.database.begin() as session:
        reasons = waiting.explain(session, job_id)
    assert "2,000 images or more of other owners are waiting too; owners take turns." in reasons


def test_behind_very_many_lines_nobody_says_when(farm: HandMade) -> None:
    group, local, ana = farm.group(farm.checkpoint()), farm.owner(), farm.owner("ana")
    first = farm.line(group, local, queued=1, succeeded=1)
    add_lines(farm, first, 4_000)
    job_id = farm.line(group, local, succeeded=1)
    farm.line(group, ana)
    plan_it(farm, group, local)
    with farm.scene.database.begin() as session:
        assert read_outlook(session, first).expected.says_something
        assert not read_outlook(session, job_id).expected.says_something
        assert read_standing(session, "local", "default", 50) is None
        assert read_standing(session, "ana", "default", 50) is not None


def test_lines_that_are_done_are_not_read(scene: Scene) -> None:
    many_lines(scene)
    keys = {"job_id": "7", "pool": "'default'", "owner_id": "1", "priority": "50"}
    query = ahead._AHEAD.text
    for name, value in keys.items():
        query = query.replace(f":{name}", value)
    with scene.database.begin() as session:
        plan = explain(session, query)
    assert "Scan on counters" not in plan
    assert plan.count("counters_ready_of_owner") + plan.count("counters_claimable") >= 3

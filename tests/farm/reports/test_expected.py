"""When a job starts and ends: by the plan, as ranges, in words."""

import pytest

from farm.dispatch.planned import WaitReason
from farm.reports import overview
from farm.reports.durations import in_about
from farm.reports.expected import Expected, Line, expect, read_outlook
from farm.reports.shapes import ExpectedReport
from farm.reports.waiting import _PLANNED, explain
from tests.factories import Scene
from tests.farm.planner.farms import HandMade


@pytest.fixture
def farm(scene: Scene) -> HandMade:
    return HandMade(scene)


def a_line(queued: int = 10, *, running: int = 0, is_ready: bool = True, **known: float | str | None) -> Line:
    return Line(queued, running, 0, is_ready, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0, 4, "within seconds"),
        (0, 12, "in at most 15 s"),
        (21, 58, "in about 20 to 60 s"),
        (40, 40, "in about 40 s"),
        (70, 200, "in about 1 to 4 min"),
        (3600, 3 * 3600, "in about 1 to 3 h"),
        (3 * 86400, 4.5 * 86400, "in about 3 to 5 days"),
    ],
)
def test_a_range_is_told_in_its_unit(low: float, high: float, words: str) -> None:
    assert in_about(low, high) == words


def test_a_job_is_told_as_far_as_somebody_can_say() -> None:
    report = ExpectedReport(starts_low=120, starts_high=240, ends_low=1200, ends_high=1800)
    assert report.in_words == "starts in about 2 to 4 min, ends in about 20 to 30 min"
    assert ExpectedReport(ends_low=0, ends_high=3).in_words == "ends within seconds"
    assert ExpectedReport().in_words == ""


def test_a_line_starts_after_what_is_ahead_of_it() -> None:
    line = a_line(pace=2.0, low=10, high=20, ahead=40)
    assert (line.start, line.end) == ((25.0, 50.0), (28.75, 57.5))


def test_first_images_start_as_interactive_work() -> None:
    line = a_line(pace=2.0, low=100, high=200, soon_low=5, soon_high=8)
    assert line.start == (5, 8)
    assert a_line(pace=2.0, low=100, high=200, soon_low=5, soon_high=8, running=1).start == (100, 200)
    assert a_line(pace=2.0, low=100, high=200, soon_low=5, soon_high=8, ahead=16).start == (106, 212)


def test_what_comes_next_is_not_what_waits_behind_it() -> None:
    reasons = [a_line(reason=WaitReason.RUNS_NEXT, ahead=ahead).why for ahead in (0, 16)]
    assert reasons == [WaitReason.RUNS_NEXT, WaitReason.SEATED]
    assert a_line(0, running=1, reason=WaitReason.BUSY).why is None


def test_behind_what_nobody_counted_nobody_says_when() -> None:
    line = a_line(pace=2.0, low=10, high=20, soon_low=5, soon_high=8, reason=WaitReason.RUNS_NEXT, ahead=None)
    assert (line.start, line.end, line.why) == (None, None, WaitReason.SEATED)


def test_a_job_starts_with_its_first_line_and_ends_with_its_last() -> None:
    first, last = a_line(pace=1.0, low=5, high=9), a_line(pace=0.5, low=60, high=90)
    assert expect([last, first]) == Expected(5, 9, 75, 120)


def test_of_a_line_that_nobody_can_place_the_end_is_unknown() -> None:
    assert expect([a_line(pace=1.0, low=5, high=9), a_line()]) == Expected(5, 9, None, None)


def test_what_has_begun_has_no_start_to_come() -> None:
    assert expect([a_line(pace=1.0, low=5, high=9, running=1)]) == Expected(None, None, 12.5, 24)


def test_the_last_images_end_when_they_are_rendered() -> None:
    assert expect([a_line(0, running=4, seconds=2.0)]) == Expected(None, None, 0.0, 12.0)


def test_of_what_is_not_ready_nothing_is_expected() -> None:
    assert expect([a_line(pace=1.0, low=5, high=9, is_ready=False)]) == Expected()


def plan_it(farm: HandMade, group: int, owner: int, **columns: object) -> None:
    values = {"class": "bulk", "reason": WaitReason.BUSY, "low": 60.0, "high": 90.0, "pace": 1.0, **columns}
    farm.scene.execute("INSERT INTO plans (pool) VALUES ('default') ON CONFLICT DO NOTHING")
    farm.scene.execute(
        "INSERT INTO outlooks (group_id, owner_id, class, reason, starts_in_low, starts_in_high, "
        "images_per_second) VALUES (:group, :owner, :class, :reason, :low, :high, :pace)",
        group=group,
        owner=owner,
        **values,
    )


def expected_of(farm: HandMade, job_id: int) -> Expected:
    with farm.scene.database.begin() as session:
        return read_outlook(session, job_id).expected


def test_a_job_is_placed_among_those_of_its_owner(farm: HandMade) -> None:
    group, local, ana = farm.group(farm.checkpoint()), farm.owner(), farm.owner("ana")
    farm.line(group, ana, queued=100)
    older = farm.line(group, local, queued=20, priority=40)
    farm.line(group, local, queued=20, succeeded=1)
    job_id = farm.line(group, local, queued=40, succeeded=1)
    farm.line(group, local, queued=10, priority=60)
    plan_it(farm, group, local)
    found = expected_of(farm, job_id)
    assert (found.starts_low, found.ends_low) == (None, pytest.approx(60 + 0.75 * 30 + 0.75 * 40, abs=1))
    assert expected_of(farm, older).starts_high == pytest.approx(90 + 1.5 * 70, abs=1)


def test_an_outlook_counts_from_when_it_was_written(farm: HandMade) -> None:
    group, local = farm.group(farm.checkpoint()), farm.owner()
    job_id = farm.line(group, local)
    plan_it(farm, group, local)
    farm.scene.execute("UPDATE outlooks SET updated_at = now() - interval '50 seconds'")
    found = expected_of(farm, job_id)
    assert (found.starts_low, found.starts_high) == (pytest.approx(10, abs=1), pytest.approx(40, abs=1))


@pytest.mark.parametrize("age", ["1 minute", "-1 minute"])
def test_a_plan_that_nobody_makes_any_more_says_nothing(farm: HandMade, age: str) -> None:
    group, local = farm.group(farm.checkpoint()), farm.owner()
    job_id = farm.line(group, local)
    plan_it(farm, group, local)
    farm.scene.let_plans_age(age)
    assert not expected_of(farm, job_id).says_something


def test_a_job_waits_for_the_reason_that_the_plan_has(farm: HandMade) -> None:
    group, local = farm.group(farm.checkpoint()), farm.owner()
    farm.worker()
    job_id = farm.line(group, local)
    plan_it(farm, group, local, reason=WaitReason.SHARE)
    with farm.scene.database.begin() as session:
        assert explain(session, job_id) == [
            "Its owner gets their share of the workers; the others who wait get theirs."
        ]
        report = overview.job(session, job_id).expected
    assert report is not None
    assert report.in_words == "starts in about 55 to 90 s, ends in about 1 to 2 min"


def test_every_reason_of_the_plan_has_its_words() -> None:
    assert _PLANNED.keys() | {WaitReason.NO_DEVICE} == set(WaitReason)

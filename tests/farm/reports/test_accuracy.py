"""Estimates are kept, and compared with what came."""

from datetime import UTC, datetime

import pytest

from farm.planner.folding import Folding
from farm.planner.measuring.actuals import last_noted_end, note_ends, note_starts
from farm.reports.accuracy import Compared, errors, summarize
from farm.reports.figures import PlanReport
from farm.reports.stats import stats
from tests.factories import Scene
from tests.farm.planner.farms import HandMade


@pytest.fixture
def farm(scene: Scene) -> HandMade:
    return HandMade(scene)


def an_estimate(farm: HandMade, job_id: int, *, starts: tuple[int, int], ends: tuple[int, int]) -> None:
    farm.scene.execute(
        """
        INSERT INTO estimates (job_id, made_at, starts_low, starts_high, ends_low, ends_high)
        SELECT :job, m, m + make_interval(secs => :a), m + make_interval(secs => :b), m + make_interval(secs => :c),
               m + make_interval(secs => :d) FROM (SELECT now() - interval '10 minutes' AS m) n
        """,
        job=job_id,
        a=starts[0],
        b=starts[1],
        c=ends[0],
        d=ends[1],
    )


def finish(farm: HandMade, job_id: int, after: float, status: str = "succeeded") -> None:
    """The job ends so long after its estimate was made."""
    farm.scene.execute(
        "UPDATE jobs SET status = :status, finished_at = now() + make_interval(secs => :after - 600) "
        "WHERE id = :id",
        status=status,
        after=after,
        id=job_id,
    )


def note(farm: HandMade) -> int:
    with farm.scene.database.begin() as session:
        return note_ends(session, last_noted_end(session))


def test_ratios_are_summed_up_by_median_and_worst_tenth() -> None:
    compared = [Compared(50, 150, came) for came in (60, 80, 100, 120, 140, 145, 148, 150, 200, 900)]
    found = summarize(compared)
    assert (found.jobs, found.median, found.p90, found.within) == (10, 1.4, 2.0, 0.8)
    assert (
        found.in_words
        == "10 jobs, 80 % within the range; 1.4 times as long as expected in the median, 2 in the worst tenth"
    )


def test_to_be_late_by_a_second_is_no_great_error() -> None:
    assert summarize([Compared(0, 1, 4)]).median == 1.0
    assert summarize([Compared(0, 1, 4)]).within == 1.0


def test_what_came_of_an_estimate_is_noted_once(farm: HandMade) -> None:
    group, local = farm.group(farm.checkpoint()), farm.owner()
    job_id, open_ = farm.line(group, local), farm.line(group, local)
    for id_ in (job_id, open_):
        an_estimate(farm, id_, starts=(0, 10), ends=(50, 150))
    finish(farm, job_id, after=200)
    assert [note(farm), note(farm)] == [1, 0]
    with farm.scene.database.begin() as session:
        starts, ends = errors(session)
    assert (starts.jobs, ends.jobs, ends.median, ends.within) == (0, 1, pytest.approx(2.0, abs=0.1), 0.0)


def test_a_job_that_was_called_off_says_nothing_of_its_estimate(farm: HandMade) -> None:
    job_id = farm.line(farm.group(farm.checkpoint()), farm.owner())
    an_estimate(farm, job_id, starts=(0, 10), ends=(50, 150))
    finish(farm, job_id, after=20, status="cancelled")
    assert note(farm) == 1
    with farm.scene.database.begin() as session:
        assert [found.jobs for found in errors(session)] == [0, 0]


def test_a_start_is_noted_when_something_was_claimed(farm: HandMade) -> None:
    group, local = farm.group(farm.checkpoint()), farm.owner()
    started, waiting = farm.line(group, local), farm.line(group, local)
    for id_ in (started, waiting):
        an_estimate(farm, id_, starts=(0, 10), ends=(50, 150))
    farm.scene.execute(
        "INSERT INTO deltas (job_id, batch_key, queued, running, created_at) "
        "VALUES (:job, 'k', -1, 1, now() - interval '9 minutes'), (:job, 'k', -1, 1, now())",
        job=started,
    )
    Folding(farm.scene.database).fold()
    with farm.scene.database.begin() as session:
        note_starts(session, {started: datetime.now(UTC)})
    found = "SELECT extract(epoch FROM started_at - made_at)::integer FROM estimates ORDER BY job_id"
    assert farm.scene.column(found) == [60, None]


def test_the_farm_in_figures_has_plans_shares_and_errors(farm: HandMade) -> None:
    ana, project = farm.owner("ana", weight=2.0), farm.project("film")
    farm.scene.execute("INSERT INTO plans (pool, figures) VALUES ('default', '{\"devices\": 3, \"later\": 1}')")
    farm.scene.execute(
        "INSERT INTO shares (pool, owner_id, project_id, lag, rate, used_seconds) "
        "VALUES ('default', :o, :p, 5, 1.5, 9)",
        o=ana,
        p=project,
    )
    with farm.scene.database.begin() as session:
        found = stats(session)
    assert [(plan.pool, plan.devices) for plan in found.plans] == [("default", 3)]
    assert [(s.owner, s.project, s.weight, s.rate, s.lag) for s in found.shares] == [("ana", "film", 2.0, 1.5, 5.0)]
    assert (found.queued, found.starts.jobs, found.ends.in_words) == (0, 0, "no job yet")


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"devices": 1, "idle": 1}, "gpu: 1 device, 1 idle; nothing waits"),
        ({"devices": 2, "queued": 9, "demand": 4.5}, "gpu: 2 devices, 0 idle; what waits asks for 4.5 devices"),
        ({"age_seconds": 70}, "gpu: no plan for 70 s; no keeper leads, workers choose by themselves"),
    ],
)
def test_a_plan_is_told_in_a_sentence(plan: dict[str, float], words: str) -> None:
    assert PlanReport.model_validate({"pool": "gpu", "age_seconds": 0.5, **plan}).in_words == words

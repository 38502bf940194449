"""`farm bench claim` on farms of a few jobs: that it measures what it says, never how fast it was."""

from farm.bench import claim
from farm.bench.claim import Filling


def test_claims_from_every_farm_are_timed_with_a_plan_and_without() -> None:
    fillings = (Filling("one owner", images=500), Filling("beside", images=500, future_jobs=20, owners=2, jobs=2))
    found = claim.measure(fillings, rounds=2, batch=2)
    assert [(figures.filling.name, figures.has_plan) for figures in found] == [
        ("one owner", False),
        ("one owner", True),
        ("beside", False),
        ("beside", True),
    ]
    assert all(figures.p50 > 0 for figures in found)


def test_the_farms_that_are_compared_begin_with_an_empty_one() -> None:
    first, *others = claim.list_fillings(1_000_000)
    assert (first.owners, first.jobs, first.future_jobs) == (1, 1, 0)
    assert {filling.future_jobs for filling in others} == {0, 100_000}
    assert max(filling.jobs * filling.images for filling in others) == 1_000_000

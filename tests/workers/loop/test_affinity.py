"""How long the resident checkpoint is preferred."""

import pytest

from workers.loop import affinity
from workers.loop.affinity import Affinity


def test_the_resident_checkpoint_is_preferred() -> None:
    assert Affinity().preference(7) == 7


def test_without_a_resident_checkpoint_there_is_no_preference() -> None:
    assert Affinity().preference(None) is None


def test_after_so_many_batches_one_claim_is_made_without_it() -> None:
    preferring = Affinity()
    preferences = []
    for _ in range(66):
        preferences.append(preferring.preference(7))
        preferring.note_claim()
    assert [number for number, preference in enumerate(preferences) if preference is None] == [32, 64]


def test_after_so_long_one_claim_is_made_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affinity, "_LONGEST_SECONDS", -1.0)
    assert Affinity().preference(7) is None


def test_claims_that_found_nothing_do_not_count() -> None:
    preferring = Affinity()
    assert {preferring.preference(7) for _ in range(100)} == {7}

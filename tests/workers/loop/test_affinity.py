"""How long the resident checkpoints are preferred."""

import pytest

from workers.loop import affinity
from workers.loop.affinity import Affinity


def test_the_resident_checkpoints_are_preferred() -> None:
    assert Affinity().preference([7, 3]) == [7, 3]


def test_no_preference_is_given_without_a_resident_checkpoint() -> None:
    assert Affinity().preference([]) == []


def test_a_claim_after_many_batches_is_made_without_the_preference() -> None:
    preferring = Affinity()
    preferences = []
    for _ in range(66):
        preferences.append(preferring.preference([7]))
        preferring.note_claim()
    assert [number for number, preference in enumerate(preferences) if not preference] == [32, 64]


def test_a_claim_after_a_long_time_is_made_without_the_preference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(affinity, "_LONGEST_SECONDS", -1.0)
    assert not Affinity().preference([7])


def test_claims_that_found_nothing_do_not_count() -> None:
    preferring = Affinity()
    assert all(preferring.preference([7]) == [7] for _ in range(100))

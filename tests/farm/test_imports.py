"""Imports without the garbage collector."""

import gc

import pytest

from farm.imports import pause_garbage_collection


def test_the_garbage_collector_rests_during_imports_and_freezes_what_they_made() -> None:
    frozen = gc.get_freeze_count()
    with pause_garbage_collection():
        assert not gc.isenabled()
        come_to_stay = [[] for _ in range(1000)]  # type: ignore[var-annotated]  # whatever is tracked
    assert gc.isenabled()
    assert gc.get_freeze_count() >= frozen + len(come_to_stay)


def test_the_garbage_collector_works_again_after_a_failed_import() -> None:
    with pytest.raises(ImportError), pause_garbage_collection():
        raise ImportError
    assert gc.isenabled()

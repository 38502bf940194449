"""Imports without the garbage collector."""

import gc

import pytest

from farm.imports import pause_garbage_collection


def test_the_collector_rests_while_modules_come_and_passes_them_over_for_good() -> None:
    frozen = gc.get_freeze_count()
    with pause_garbage_collection():
        assert not gc.isenabled()
        come_to_stay = [[] for _ in range(1000)]  # type: ignore[var-annotated]  # whatever is tracked
    assert gc.isenabled()
    assert gc.get_freeze_count() >= frozen + len(come_to_stay)


def test_it_works_again_after_an_import_that_fails() -> None:
    with pytest.raises(ImportError), pause_garbage_collection():
        raise ImportError
    assert gc.isenabled()

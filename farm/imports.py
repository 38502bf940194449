"""Imports without the garbage collector."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import much at once. What modules hold is there to stay: the collector is not to look through it.

    It would do so over and over while thousands of modules come, at each full collection later, and once
    more at the end: a third of the time of `farm --help`, and of a worker's start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()

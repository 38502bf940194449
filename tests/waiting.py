"""Waiting for what other processes and threads do."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 300.0


def wait_until(is_so: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> None:
    """Look again and again until something is so; fail after a generous time.

    The longer it takes, the longer are the pauses: to look takes time from those who are waited for.
    """
    started = time.monotonic()
    while not is_so():
        waited = time.monotonic() - started
        assert waited < seconds, "waited in vain"
        time.sleep(min(max(0.02, waited / 10), 0.3))

"""Waiting for what other processes and threads do."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 300.0


def wait_until(is_so: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> None:
    """Look again and again until something is so; fail after a generous time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)

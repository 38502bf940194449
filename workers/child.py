"""The child pinned to one device: it reads its parent's orders from stdin and runs the render loop.

CUDA_VISIBLE_DEVICES was set by the parent before this interpreter started.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TextIO

import structlog

from farm import config, crashpoints, logs
from farm.config import Settings
from farm.errors import DeviceBroken, DeviceUnfit
from farm.imports import pause_garbage_collection
from workers.loop.orders import Orders
from workers.loop.runner import BROKEN, Runner
from workers.loop.unfit import sit_out
from workers.parent.pulse import beat
from workers.renderer import Renderer

log = structlog.get_logger(__name__)

_ARGUMENTS = 4

OpenRenderer = Callable[[Settings, str, str, int], Renderer]
"""(settings, device label, device name, CPU threads): called once the orders of the parent are read.

Raises DeviceUnfit where the device does not compute.
"""


def main() -> None:
    run(_open_diffusion)


def _open_diffusion(settings: Settings, label: str, device_name: str, threads: int) -> Renderer:
    # Torch takes seconds to import; orders of the parent are obeyed meanwhile.
    with pause_garbage_collection():
        from workers.diffusion import open_renderer

    return open_renderer(settings, label, device_name, threads)


def run(open_renderer: OpenRenderer) -> None:
    """Arguments: worker id, device label, device name, CPU threads; and how often the device was unfit already."""
    worker_id, label, device_name, threads = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    tries = int(sys.argv[1 + _ARGUMENTS]) if len(sys.argv) > 1 + _ARGUMENTS else 0
    settings = config.load()
    logs.configure(settings)
    crashpoints.arm(settings.crash_points)
    # The parent decides when this process ends; Ctrl-C in a terminal reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders = Orders(settings.grace_seconds / 2)
    is_open = threading.Event()
    drain = partial(_drain, orders, is_open)
    signal.signal(signal.SIGTERM, lambda *_: drain())
    threading.Thread(
        target=obey, args=(sys.stdin, orders.ring, drain, settings.grace_seconds), name="parent", daemon=True
    ).start()
    threading.Thread(target=beat, args=(sys.stdout.buffer,), name="pulse", daemon=True).start()
    try:
        renderer = open_renderer(settings, label, device_name, threads)
    except DeviceUnfit as error:
        sit_out(settings, worker_id, str(error), [*_own_arguments(), str(tries + 1)], tries)
    is_open.set()
    try:
        Runner(settings, orders, renderer, worker_id).run()
    except DeviceBroken:
        # Not by way of the interpreter's end, where a broken context may hang or crash.
        log.error("The device broke; this process ends.", worker=worker_id)
        os._exit(BROKEN)


def _own_arguments() -> list[str]:
    """What the parent started this interpreter with."""
    return sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1 + _ARGUMENTS]


def _drain(orders: Orders, is_open: threading.Event) -> None:
    """What still opens its device holds no task: it ends at once, not in the seconds that this takes."""
    orders.drain()
    if not is_open.is_set():
        os._exit(0)


def obey(lines: TextIO, ring: Callable[[], None], drain: Callable[[], None], grace_seconds: float) -> None:
    """Carry out the parent's orders. An orphan that has not ended by the grace period is stuck: it ends hard."""
    read_orders(lines, ring, drain)
    time.sleep(grace_seconds)
    os._exit(1)


def read_orders(lines: TextIO, ring: Callable[[], None], drain: Callable[[], None]) -> None:
    """Carry out each order; when the parent is gone (end of file), drain."""
    for line in lines:
        match line.strip():
            case "ring":
                ring()
            case "drain":
                drain()
    drain()


if __name__ == "__main__":
    main()

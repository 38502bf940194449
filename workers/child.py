"""The child pinned to one device: it listens to its parent on stdin and runs the render loop.

CUDA_VISIBLE_DEVICES was set by the parent before this interpreter started.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

from farm import config, crashpoints, logs
from farm.config import Settings
from workers.calls import Calls
from workers.pulse import beat
from workers.renderer import Renderer
from workers.runner import Runner

OpenRenderer = Callable[[Settings, str, str, int], Renderer]
"""(settings, device label, device name, CPU threads): called once the parent can be heard."""


def main() -> None:
    run(_open_diffusion)


def _open_diffusion(settings: Settings, label: str, device_name: str, threads: int) -> Renderer:
    # Torch takes seconds to import; a word of the parent is heard meanwhile.
    from workers.diffusion import open_renderer

    return open_renderer(settings, label, device_name, threads)


def run(open_renderer: OpenRenderer) -> None:
    """Arguments: worker id, device label, device name, CPU threads."""
    worker_id, label, device_name, threads = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    settings = config.load()
    logs.configure(settings)
    crashpoints.arm(settings.crash_point)
    # The parent decides when this process ends; Ctrl-C in a terminal reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls = Calls(settings.grace_seconds / 2)
    signal.signal(signal.SIGTERM, lambda *_: calls.drain())
    threading.Thread(
        target=obey, args=(sys.stdin, calls, settings.grace_seconds), name="parent", daemon=True
    ).start()
    threading.Thread(target=beat, args=(sys.stdout.buffer,), name="pulse", daemon=True).start()
    Runner(settings, calls, open_renderer(settings, label, device_name, threads), worker_id).run()


def obey(words: TextIO, calls: Calls, grace_seconds: float) -> None:
    """Listen to the parent. An orphan that has not ended by the grace period is stuck: it ends hard."""
    listen(words, calls)
    time.sleep(grace_seconds)
    os._exit(1)


def listen(words: TextIO, calls: Calls) -> None:
    """Obey the parent; when it is gone (end of file), drain."""
    for word in words:
        match word.strip():
            case "ring":
                calls.ring()
            case "drain":
                calls.drain()
    calls.drain()


if __name__ == "__main__":
    main()

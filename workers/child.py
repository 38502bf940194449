"""The child pinned to one device: it listens to its parent on stdin and runs the render loop.

CUDA_VISIBLE_DEVICES was set by the parent before this interpreter started.
"""

import os
import signal
import sys
import threading
import time
from typing import TextIO

from farm import config, logs
from workers.calls import Calls


def main() -> None:
    """Arguments: worker id, device label, device name, CPU threads."""
    worker_id, label, device_name, threads = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    settings = config.load()
    logs.configure(settings)
    # The parent decides when this process ends; Ctrl-C in a terminal reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls = Calls(settings.grace_seconds / 2)
    signal.signal(signal.SIGTERM, lambda *_: calls.drain())
    threading.Thread(
        target=obey, args=(sys.stdin, calls, settings.grace_seconds), name="parent", daemon=True
    ).start()

    from workers.runner import run

    run(settings, calls, worker_id=worker_id, label=label, device_name=device_name, threads=threads)


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

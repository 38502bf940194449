"""The parent process of the workers on this machine: it supervises one child per device and answers the bell.

It never imports torch: a crash, a leak or a hang of CUDA stays in the child that had it.
"""

import argparse
import os
import signal
import sys
import threading

import structlog

from farm import config, crashpoints, logs
from farm.config import Settings
from farm.errors import ConfigError
from farm.queue.doorbell import require_transport
from workers.loop.delivery import spool
from workers.parent.bell import Bell
from workers.parent.devices import Device, choose_devices, needs_gpus
from workers.parent.health import serve_health
from workers.parent.nvidia import GpuListing, find_gpus
from workers.parent.supervisor import Supervisor

log = structlog.get_logger(__name__)


def main(child_module: str = "workers.child") -> None:
    """Run until SIGTERM or Ctrl-C. Exits with 2 when a setting or a device is wrong."""
    arguments = _parser().parse_args()
    try:
        settings = config.load(**({"pool": arguments.pool} if arguments.pool else {}))
        logs.configure(settings)
        crashpoints.arm(settings.crash_points)
        require_transport(settings.required_redis_url)
        spool.prepare(settings.spool_folder)
        devices = _devices(arguments.devices)
        supervisor = Supervisor(settings, devices, child_module)
        bell = Bell(settings.required_redis_url, settings.pool, supervisor.ring)
        serve_health(settings, supervisor)
    except ConfigError as error:
        sys.stderr.write(f"farm worker: {error}\n")
        sys.exit(2)
    run(settings, supervisor, bell)


def _devices(wish: str) -> list[Device]:
    listing = find_gpus(os.environ) if needs_gpus(wish) else GpuListing()
    devices = choose_devices(wish, listing)
    if needs_gpus(wish) and not any(device.is_cuda for device in devices):
        # A warning: a farm that renders a hundred times slower than it could looks as if it worked.
        why = listing.reason or "no NVIDIA driver was found"
        log.warning(f"Images are rendered on the processor: {why}.", devices=wish)
    return devices


def run(settings: Settings, supervisor: Supervisor, bell: Bell) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    bell.start()
    supervisor.start()
    while not stop.wait(0.1):
        supervisor.tend()
    log.info("The workers are draining.", grace_seconds=settings.grace_seconds)
    supervisor.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="farm worker", description=__doc__)
    parser.add_argument("--devices", default="all", help="all, or a list of: index, UUID, cpu, cpu:N")
    parser.add_argument("--pool", help="the pool these workers serve")
    return parser

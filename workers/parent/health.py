"""/healthz and /readyz of the workers on this machine, answered by their parent: for probes of containers.

A probe asks this process alone: a thread looks at the database each second and keeps what it saw, so that
neither a dead Postgres nor many probes hold anything up.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from farm.config import Settings
from farm.db.connection import Database
from farm.errors import ConfigError
from farm.queue.workers.fleet import WorkerState, states

log = structlog.get_logger(__name__)

_OK = "ok"
_LOOK_SECONDS = 1.0
_STALE_SECONDS = 5.0
# A round waits for Postgres, slot by slot, when that is cut off; one that takes longer does not end.
_LONGEST_ROUND_SECONDS = 120.0
_REQUEST_SECONDS = 5.0
_MOST_REQUESTS = 16

ProbeReport = Mapping[str, str]
"""What was looked at, with `ok` or what is wrong with it."""

Probe = tuple[str, Callable[[], ProbeReport]]
"""The status when all is well, and the function that looks."""


class Parent(Protocol):
    """What is asked of the parent, from other threads than its own."""

    @property
    def database(self) -> Database: ...

    @property
    def is_stopping(self) -> bool: ...

    @property
    def seconds_since_round(self) -> float: ...

    def worker_ids(self) -> dict[str, int | None]: ...


def describe_slot(worker_id: int | None, row: WorkerState | None) -> str:
    """`ok`, or why a device renders nothing: `worker_id` is None where no process is on it."""
    if worker_id is None:
        return "has no worker process now; one is started"
    if row is None or (row.status == "starting" and row.reason is None):
        return "is starting"
    # Probes need no key, and what libraries say may name hosts, users and paths.
    if row.status == "offline":
        return "is gone: `farm workers` says why"
    if row.reason:
        return "is in trouble: `farm workers` says what it is"
    return "takes no work: it drains" if row.status in ("draining", "drained") else _OK


class Outlook:
    """Whether the workers render, as far as this process knows. Called from many threads; never waits."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._rows: Mapping[int, WorkerState] = {}
        self._seen_at = -_STALE_SECONDS

    def keep_looking(self) -> None:
        """Look each second for as long as the process lives."""
        while True:
            self.look()
            time.sleep(_LOOK_SECONDS)

    def look(self) -> None:
        """Read what the database says of the workers that are here now."""
        ids = [worker_id for worker_id in self._parent.worker_ids().values() if worker_id is not None]
        try:
            with self._parent.database.begin() as session:
                self._rows = states(session, ids)
        except SQLAlchemyError as error:
            self._seen_at = -_STALE_SECONDS
            log.debug("The workers' state could not be read.", error=str(error))
            return
        self._seen_at = time.monotonic()

    def health(self) -> ProbeReport:
        """Whether the parent makes its rounds; a drain takes as long as it takes."""
        seconds = self._parent.seconds_since_round
        is_stuck = seconds > _LONGEST_ROUND_SECONDS and not self._parent.is_stopping
        return {"rounds": f"none for {seconds:.0f} s" if is_stuck else _OK}

    def readiness(self) -> ProbeReport:
        """The database and each device; all are `ok` only when every worker can render."""
        if self._parent.is_stopping:
            return {"workers": "are draining"}
        if time.monotonic() - self._seen_at > _STALE_SECONDS:
            return {"database": "does not answer"}
        worker_ids = self._parent.worker_ids()
        return {
            "database": _OK,
            **{device: describe_slot(id, self._rows.get(id) if id else None) for device, id in worker_ids.items()},
        }


class HealthServer(ThreadingHTTPServer):
    """Answers the probes on threads that die with the process."""

    daemon_threads = True

    def process_request(self, request: Any, client_address: Any) -> None:
        """On a thread, while there are few: more would take the threads and descriptors of the workers' parent."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """With an end, however slowly a request comes in."""
        deadline = threading.Timer(_REQUEST_SECONDS, partial(_end, request))
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._room.release()

    def __init__(self, host: str, port: int, outlook: Outlook) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)
        self._room = threading.BoundedSemaphore(_MOST_REQUESTS)
        self.probes: Mapping[str, Probe] = {
            "/healthz": ("ok", outlook.health),
            "/readyz": ("ready", outlook.readiness),
        }


def _end(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    timeout = _REQUEST_SECONDS
    server_version = "farm"
    sys_version = ""
    server: HealthServer

    def do_GET(self) -> None:
        probe = self.server.probes.get(self.path.split("?", 1)[0])
        if probe is None:
            self.send_error(404)
            return
        good, ask = probe
        report = ask()
        is_well = all(state == _OK for state in report.values())
        body = json.dumps({"status": good if is_well else "unavailable", "parts": report}).encode()
        self.send_response(200 if is_well else 503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Probes come every few seconds: they are no news."""


def serve_health(settings: Settings, parent: Parent) -> None:
    """Answer probes from now on, where a port is set for them. Raises ConfigError where it cannot be bound."""
    if settings.worker_port is None:
        return
    outlook = Outlook(parent)
    try:
        server = HealthServer(settings.host, settings.worker_port, outlook)
    except OSError as error:
        raise ConfigError(
            f"FARM_WORKER_PORT: cannot bind {settings.host}:{settings.worker_port}: {error.strerror or error}. "
            "The workers of one machine that are started by different commands need a port each."
        ) from error
    for work in (outlook.keep_looking, server.serve_forever):
        threading.Thread(target=work, name="health", daemon=True).start()

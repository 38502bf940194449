"""A whole farm on one machine: its servers, keeper, portal and workers, started in order and kept running."""

import fcntl
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

import structlog

from farm import catalog, migrate
from farm.config import LOCK_FILE, RUNNING_FILE, Settings
from farm.database import Database, Role
from farm.embedded.child import spawn, stop
from farm.embedded.postgres import Postgres, service_user
from farm.embedded.redis import Redis
from farm.errors import ConfigError, FarmError

log = structlog.get_logger(__name__)

DEMO_CHECKPOINT = "demo"
_DEMO_NOTE = "Random weights: renders noise. It is here to try the farm."
_LONGEST_SOCKET_FOLDER = 80  # A socket's path may have 107 bytes, its name included.
_READY_SECONDS = 60.0


@dataclass
class Service:
    """One process of the farm and how to start it again."""

    name: str
    launch: Callable[[], Popen[bytes]]
    halt: Callable[[Popen[bytes]], None]
    process: Popen[bytes] | None = None
    died_at: list[float] = field(default_factory=list)

    def start(self) -> None:
        self.process = self.launch()

    def stop(self) -> None:
        if self.process is not None:
            self.halt(self.process)

    def restart_if_dead(self) -> None:
        """Start it again at once; if it keeps dying, with a pause."""
        if self.process is None or self.process.poll() is None:
            return
        self.died_at = [t for t in self.died_at if t > time.monotonic() - 60] + [time.monotonic()]
        log.warning("A process ended; starting it again.", process=self.name, status=self.process.returncode)
        time.sleep(min(5.0, len(self.died_at) - 1.0))
        self.start()


class LocalFarm:
    """The farm of one data folder. Use as a context: leaving it stops everything that was started."""

    def __init__(self, settings: Settings, devices: str) -> None:
        self._given = settings
        self._devices = devices
        self._folder = settings.data_dir
        self._services: list[Service] = []
        self._lock: Any = None
        self.settings = settings

    def __enter__(self) -> "LocalFarm":
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def url(self) -> str:
        return f"http://{self.settings.host}:{self.settings.port}"

    def tend(self) -> None:
        """One round: start again what has ended."""
        for service in self._services:
            service.restart_if_dead()

    def _start(self) -> None:
        """Start everything, in order.

        1. The data folder, private and ours alone.
        2. Postgres and Redis, unless they were given by URL; the schema.
        3. The demo checkpoint, where there is no checkpoint at all.
        4. Keeper, portal and workers; then the addresses are written down for the other commands.
        """
        self._make_private_folder()
        self._take_lock()
        (self._folder / "logs").mkdir(mode=0o700, exist_ok=True)
        self.settings = self._resolve_settings(self._start_servers())
        migrate.upgrade(self.settings.required_database_url)
        self._ensure_checkpoint()
        self._add_program("keeper", "farm", "keeper")
        self._add_program("web", "web")
        self._add_program("worker", "workers", "--devices", self._devices, grace=self.settings.grace_seconds + 5)
        self._write_running_file()

    def _stop(self) -> None:
        """Stop in reverse: whoever renders hands back while the servers still run."""
        with _undisturbed():
            if self._lock:
                (self._folder / RUNNING_FILE).unlink(missing_ok=True)
            for service in reversed(self._services):
                service.stop()
            self._services.clear()
            if self._lock:
                self._lock.close()

    def _make_private_folder(self) -> None:
        """Private to us. Run as root it belongs to Postgres' user, who must pass it; root may go anywhere."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        user = service_user()
        if user is not None and self._given.database_url is None:
            os.chown(self._folder, user.pw_uid, -1)

    def _take_lock(self) -> None:
        lock = (self._folder / LOCK_FILE).open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ConfigError(f"A farm is already running on {self._folder}.{self._whereabouts()}") from None
        self._lock = lock

    def _whereabouts(self) -> str:
        try:
            return f" Its portal: {json.loads((self._folder / RUNNING_FILE).read_text())['url']}"
        except (OSError, ValueError, KeyError):
            return ""

    def _start_servers(self) -> dict[str, str]:
        """Start the servers that no URL was given for; return the URLs of those started."""
        started = {}
        if self._given.database_url is None:
            postgres = Postgres(self._folder / "postgres", self._socket_folder("postgres"))
            postgres.start()
            self._adopt(Service("postgres", postgres.launch, lambda _: postgres.stop(), postgres.process))
            started["database_url"] = postgres.url
        if self._given.redis_url is None:
            redis = Redis(self._folder / "redis", self._socket_folder("redis"))
            redis.start()
            self._adopt(Service("redis", redis.launch, lambda _: redis.stop(), redis.process))
            started["redis_url"] = redis.url
        return started

    def _adopt(self, service: Service) -> None:
        self._services.append(service)

    def _socket_folder(self, name: str) -> Path:
        folder = self._folder / "run" / name
        if len(str(folder)) <= _LONGEST_SOCKET_FOLDER:
            return folder
        return Path(tempfile.mkdtemp(prefix=f"farm-{name}-"))

    def _resolve_settings(self, started: dict[str, str]) -> Settings:
        artifacts = self._folder / "artifacts"
        return self._given.model_copy(
            update={
                **started,
                "store_url": self._given.store_url or f"file://{artifacts}",
                "secret_key": self._given.secret_key or self._secret_key(),
                "port": free_port(self._given.host, self._given.port),
            }
        )

    def _secret_key(self) -> str:
        """The key that signs links, drawn once and kept with the data."""
        path = self._folder / "secret.key"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(32))
        return path.read_text()

    def _ensure_checkpoint(self) -> None:
        """Where no checkpoint is registered, build and register the demo checkpoint."""
        database = Database.of(self.settings, Role.TOOL)
        folder = self._folder / "checkpoints" / DEMO_CHECKPOINT
        with database.begin() as session:
            if not catalog.by_name(session):
                folder.parent.mkdir(exist_ok=True)
                self._build_demo_checkpoint(folder)
                catalog.add(session, DEMO_CHECKPOINT, catalog.inspect_folder(folder), _DEMO_NOTE)
        database.close()

    def _build_demo_checkpoint(self, folder: Path) -> None:
        if (folder / "model_index.json").exists():
            return
        builder = self._spawn("demo-checkpoint", "workers.demo_checkpoint", str(folder))
        if builder.wait(300):
            raise FarmError(f"The demo checkpoint was not built:\n{self._log_end('demo-checkpoint')}")

    def _add_program(self, name: str, module: str, *arguments: str, grace: float = 10.0) -> None:
        service = Service(
            name,
            launch=lambda: self._spawn(name, module, *arguments),
            halt=lambda process: stop(process, grace_seconds=grace),
        )
        service.start()
        self._adopt(service)

    def _spawn(self, name: str, module: str, *arguments: str) -> Popen[bytes]:
        return spawn(
            [sys.executable, "-m", module, *arguments],
            log=self._folder / "logs" / f"{name}.log",
            env=environment(self.settings),
        )

    def wait_until_ready(self, is_ready: Callable[[], bool]) -> None:
        """Wait for the portal. Raises FarmError with the end of its log if it does not come up."""
        deadline = time.monotonic() + _READY_SECONDS
        while not is_ready():
            web = next(service for service in self._services if service.name == "web")
            if time.monotonic() > deadline or (web.process and web.process.poll() is not None):
                raise FarmError(f"The portal did not start:\n{self._log_end('web')}")
            time.sleep(0.05)

    def _log_end(self, name: str) -> str:
        lines = (self._folder / "logs" / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-10:])

    def _write_running_file(self) -> None:
        """Tell the other commands where the farm is; it holds the key of the links, so nobody else may read it."""
        parts = ("database_url", "redis_url", "store_url", "secret_key")
        found = {name: getattr(self.settings, name) for name in parts}
        path = self._folder / RUNNING_FILE
        path.touch(mode=0o600)
        path.write_text(json.dumps({**found, "url": self.url}))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore further Ctrl-C and SIGTERM: a stop that is interrupted leaves processes behind."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def environment(settings: Settings) -> dict[str, str]:
    """The settings as environment variables, for the processes of this farm."""
    values = settings.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    return {
        **{f"FARM_{name.upper()}": str(value) for name, value in values.items()},
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def free_port(host: str, port: int) -> int:
    """The port if it is free, any free one for 0. Raises ConfigError when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError(
                f"FARM_PORT: cannot bind {host}:{port}: {reason}. Try --port 0 for any free one."
            ) from None
        found: int = probe.getsockname()[1]
        return found

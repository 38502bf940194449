"""A whole farm on one machine: servers, keeper, portal and workers, started in order and restarted if they end."""

import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from subprocess import Popen

import structlog

from farm.config import Settings
from farm.db import migrate
from farm.db.connection import Database, Role
from farm.embedded.child import spawn, stop
from farm.embedded.folder import DataFolder
from farm.embedded.postgres import Postgres
from farm.embedded.redis import Redis
from farm.errors import ConfigError, FarmError
from farm.network.addresses import http_url
from farm.processes import programs
from farm.store.protocol import open_store
from farm.weights import checkpoints
from farm.weights.add import SilentListener, WeightsImporter
from farm.weights.addrequest import AddRequest

log = structlog.get_logger(__name__)

_FIRST_CHECKPOINT = "demo"
_READY_SECONDS = 60.0
_SETTINGS_REFUSED = 2
"""The exit status of a program that refuses a setting; its last log line names it."""


@dataclass
class Service:
    """One process of the farm and how to start it again."""

    name: str
    launch: Callable[[], Popen[bytes]]
    halt: Callable[[Popen[bytes]], None]
    process: Popen[bytes] | None = None
    last_log_line: Callable[[], str] = lambda: ""
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
        log.warning(
            "A process ended; starting it again.",
            process=self.name,
            status=self.process.returncode,
            reason=self.last_log_line(),
        )
        time.sleep(min(5.0, len(self.died_at) - 1.0))
        self.start()


class LocalFarm:
    """The farm of one data folder. Use as a context: leaving it stops everything that was started.

    `checkpoint` is a preset that must be there once it has started. Without one, any checkpoint does, and
    where there is none at all the demo's is added.
    """

    def __init__(self, settings: Settings, devices: str, checkpoint: str | None = None) -> None:
        self._given = settings
        self._devices = devices
        self._checkpoint = checkpoint
        self._folder = DataFolder(settings.data_dir)
        self._servers: list[Service] = []
        self._programs: list[Service] = []
        self._started_at = time.monotonic()
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
        return http_url(self.settings.host, self.settings.port)

    def keep_running(self) -> None:
        """Restart processes that have ended; call it regularly. Raises ConfigError for refused settings."""
        self._check_settings()
        for service in (*self._servers, *self._programs):
            service.restart_if_dead()

    def _check_settings(self) -> None:
        """Raise ConfigError if a program refused its settings at its first start: a restart would not help."""
        if time.monotonic() > self._started_at + _READY_SECONDS:
            return
        for service in self._programs:
            is_first = not service.died_at
            if is_first and service.process and service.process.poll() == _SETTINGS_REFUSED:
                raise ConfigError(
                    service.last_log_line().partition(": ")[2] or f"{service.name} does not start; see its log."
                )

    def _start(self) -> None:
        """Start everything, in order.

        1. The data folder, private and locked.
        2. Postgres and Redis, unless they were given by URL; the schema.
        3. Keeper, portal and workers.
        4. While they start, a missing checkpoint is added; the portal is not ready before there is one.
        5. Then the addresses are written for the other commands.
        """
        self._folder.take()
        self.settings = self._resolve_settings(self._start_servers())
        migrate.upgrade(self.settings.required_database_url)
        missing = self._find_missing_checkpoint()
        self.settings = self.settings.model_copy(update={"await_checkpoint": missing is not None})
        self._add_program("keeper", "farm", "keeper")
        self._add_program("web", "web")
        self._add_program("worker", "workers", "--devices", self._devices, grace=self.settings.grace_seconds + 5)
        if missing:
            self._add_checkpoint(missing)
        # A restarted portal does not wait for a checkpoint: if the last one is gone, it was removed on purpose.
        self.settings = self.settings.model_copy(update={"await_checkpoint": False})
        parts = ("database_url", "redis_url", "store_url", "secret_key")
        self._folder.write_addresses({**{name: getattr(self.settings, name) for name in parts}, "url": self.url})

    def _stop(self) -> None:
        """Stop the programs, together, and then the servers: workers hand tasks back while these still run."""
        with _ignoring_signals():
            for services in (self._programs, self._servers):
                _stop_together(services)
                services.clear()
            self._folder.release()

    def _start_servers(self) -> dict[str, str]:
        """Start the servers that no URL was given for; return the URLs of those started."""
        started = {}
        if self._given.database_url is None:
            base = self._folder.postgres_folder()
            postgres = Postgres(base, self._folder.socket_folder(base))
            postgres.start()
            self._servers.append(Service("postgres", postgres.launch, lambda _: postgres.stop(), postgres.process))
            started["database_url"] = postgres.url
        if self._given.redis_url is None:
            base = self._folder.subfolder("redis")
            redis = Redis(base, self._folder.socket_folder(base))
            redis.start()
            self._servers.append(Service("redis", redis.launch, lambda _: redis.stop(), redis.process))
            started["redis_url"] = redis.url
        return started

    def _resolve_settings(self, started: dict[str, str]) -> Settings:
        return self._given.model_copy(
            update={
                **started,
                "store_url": self._given.store_url or (self._folder.path / "artifacts").as_uri(),
                "secret_key": self._given.secret_key or self._folder.secret_key(),
                "port": find_free_port(self._given.host, self._given.port),
            }
        )

    def _find_missing_checkpoint(self) -> AddRequest | None:
        """The checkpoint to add: the required one if it is missing, or a first one where there is none at all."""
        with closing(Database.of(self.settings, Role.TOOL)) as database, database.begin() as session:
            names = checkpoints.by_name(session)
        is_missing = self._checkpoint not in names if self._checkpoint else not names
        return AddRequest("checkpoint", self._checkpoint or _FIRST_CHECKPOINT) if is_missing else None

    def _add_checkpoint(self, wish: AddRequest) -> None:
        with closing(Database.of(self.settings, Role.TOOL)) as database:
            WeightsImporter(self.settings, database, open_store(self.settings), SilentListener()).add(wish)

    def _add_program(self, name: str, module: str, *arguments: str, grace: float = 10.0) -> None:
        service = Service(
            name,
            launch=lambda: self._spawn(name, module, *arguments),
            halt=lambda process: stop(process, grace_seconds=grace),
            last_log_line=lambda: self._read_log_tail(name, lines=1),
        )
        service.start()
        self._programs.append(service)

    def _spawn(self, name: str, module: str, *arguments: str) -> Popen[bytes]:
        return spawn(
            programs.build_command(module, *arguments),
            log=self._folder.subfolder("logs") / f"{name}.log",
            env=build_environment(self.settings),
        )

    def wait_until_ready(self, is_ready: Callable[[], bool]) -> None:
        """Wait for the portal. Raises FarmError with the end of its log if it does not come up."""
        deadline = time.monotonic() + _READY_SECONDS
        while not is_ready():
            self._check_settings()
            web = next(service for service in self._programs if service.name == "web")
            if time.monotonic() > deadline or (web.process and web.process.poll() is not None):
                raise FarmError(f"The portal did not start:\n{self._read_log_tail('web')}")
            time.sleep(0.05)

    def _read_log_tail(self, name: str, lines: int = 10) -> str:
        written = (self._folder.subfolder("logs") / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(written[-lines:])


def _stop_together(services: Sequence[Service]) -> None:
    if services:
        with ThreadPoolExecutor(len(services)) as pool:
            list(pool.map(Service.stop, services))


@contextmanager
def _ignoring_signals() -> Iterator[None]:
    """Ignore further Ctrl-C and SIGTERM: an interrupted stop leaves processes behind."""
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def build_environment(settings: Settings) -> dict[str, str]:
    """The settings as environment variables, for the processes of this farm."""
    # The hubs' tokens are only for adding weights: no process of the farm needs them, and a dump would mask them.
    tokens = {"hf_token", "civitai_token"}
    values = settings.model_dump(mode="json", exclude_none=True, exclude_unset=True, exclude=tokens)
    return {
        **{f"FARM_{name.upper()}": str(value) for name, value in values.items()},
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def find_free_port(host: str, port: int) -> int:
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

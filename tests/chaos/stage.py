"""A whole farm of real processes on servers of its own, where everything can be broken."""

import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text

from farm import config
from farm.client import Client
from farm.config import Settings
from farm.db import migrate
from farm.db.connection import Database, Role
from farm.embedded.machine import build_environment, find_free_port
from farm.embedded.postgres import Postgres
from farm.embedded.redis import Redis
from farm.store.protocol import Store, open_store
from tests.chaos import tampering
from tests.chaos.null_renderer import CACHE_BYTES, STEP_SECONDS
from tests.chaos.objects import ObjectServer
from tests.chaos.programs import Program, python_environment
from tests.chaos.proxy import Line, Network
from tests.factories import a_stored_checkpoint

CHECKPOINTS = tuple(f"bench-{number}" for number in range(8))
# No file is larger than what a worker can write while its disk is full: that fault is about the spool.
_FILES = ("text_encoder/model.safetensors", "unet/model.safetensors", "vae/model.safetensors")
_FILE_BYTES = 3000
READY_SECONDS = 120.0
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "farm", "AWS_SECRET_ACCESS_KEY": "farm-secret"}


@dataclass(frozen=True)
class Plan:
    """What the farm consists of, and how it is set. A host's cache has room for `cached_checkpoints`."""

    seed: int = 7
    keepers: int = 2
    hosts: int = 3
    devices: str = "cpu"
    lease_seconds: float = 4.0
    step_seconds: float = 0.1
    lost_rings: float = 0.1
    skewed_hosts: int = 1
    is_fenced: bool = True
    cached_checkpoints: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def farm_settings(self) -> dict[str, Any]:
        """Short times, so that much happens; many tries, since most of them are killed; logs that can be read."""
        return {
            "lease_seconds": self.lease_seconds,
            "grace_seconds": 4.0,
            "keeper_seconds": 0.5,
            "sweep_seconds": 5.0,
            "max_attempts": 20,
            "log_format": "json",
            **self.settings,
        }


def undisturbed(*, hosts: int, **settings: Any) -> Plan:
    """A farm to be measured: nothing is wrong with it of itself, and its times are those of a real one."""
    return Plan(
        keepers=1,
        hosts=hosts,
        lease_seconds=20.0,
        step_seconds=0.05,
        lost_rings=0,
        skewed_hosts=0,
        settings={"keeper_seconds": 1.0, **settings},
    )


@dataclass(frozen=True)
class Host:
    """A machine with workers: its processes, its disk, and its lines to Postgres and Redis."""

    program: Program
    postgres: Line
    redis: Line
    spool: Path
    cache: Path


@dataclass
class Stage:
    """The running farm. The methods that start or stop processes want the main thread."""

    plan: Plan
    folder: Path
    settings: Settings
    postgres: Postgres
    redis: Redis
    objects: ObjectServer
    portal: Program
    keepers: list[Program]
    hosts: list[Host]
    database: Database
    store: Store

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    @property
    def programs(self) -> list[Program]:
        return [self.portal, *self.keepers, *(host.program for host in self.hosts)]

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def tend(self) -> None:
        """Start again what has died."""
        for program in self.programs:
            program.tend()

    def wait_until_ready(self) -> None:
        """Return once the portal answers and every device has a worker that idles."""
        with Client(self.url) as client:
            self.wait_for(client.is_ready, "the portal did not open")
        idle = "SELECT count(DISTINCT name) FROM workers WHERE status = 'idle'"
        self.wait_for(lambda: self.scalar(idle) >= len(self.hosts), "the workers did not come up")

    def wait_for(self, is_so: Any, complaint: str, seconds: float = READY_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{complaint}; see {self.logs}")
            self.tend()
            time.sleep(0.05)

    def scalar(self, sql: str, **parameters: Any) -> Any:
        with self.database.begin() as session:
            return session.execute(text(sql), parameters).scalar()

    def column(self, sql: str, **parameters: Any) -> list[Any]:
        """The first column of all rows."""
        with self.database.begin() as session:
            return list(session.execute(text(sql), parameters).scalars())

    def rows(self, sql: str, **parameters: Any) -> list[Any]:
        with self.database.begin() as session:
            return list(session.execute(text(sql), parameters))


@contextmanager
def raised(plan: Plan) -> Iterator[Stage]:
    """The farm of a plan, up and idle. Its folder stays if it is left by an exception."""
    folder = Path(tempfile.mkdtemp(prefix="farm-chaos-"))
    # Postgres runs as another user where we are root, and must pass.
    folder.chmod(0o711)
    os.environ.update(_CREDENTIALS)
    with ExitStack() as cleanup:
        stage = _build(plan, folder, cleanup)
        for program in stage.programs:
            cleanup.callback(program.stop)
            program.start()
        stage.wait_until_ready()
        yield stage
    shutil.rmtree(folder, ignore_errors=True)


def _build(plan: Plan, folder: Path, cleanup: ExitStack) -> Stage:
    """Servers first, then the lines to them; the programs are not yet started."""
    postgres = Postgres(folder / "postgres", folder / "run")
    redis = Redis(folder / "redis", folder / "run-redis")
    for server in (postgres, redis):
        cleanup.callback(server.stop)
        server.start()
    migrate.upgrade(postgres.url)
    objects = ObjectServer(folder / "objects")
    cleanup.callback(objects.close)
    settings = config.load_given(
        data_dir=folder / "data",
        database_url=postgres.url,
        redis_url=redis.url,
        store_url=objects.store_url,
        port=find_free_port("127.0.0.1", 0),
        **plan.farm_settings(),
    )
    database = Database.of(settings, Role.TOOL)
    cleanup.callback(database.close)
    store = open_store(settings)
    _register_checkpoints(database, store)
    network = Network()
    cleanup.callback(network.close)
    make = _Maker(plan, folder, settings, network)
    return Stage(
        plan=plan,
        folder=folder,
        settings=settings,
        postgres=postgres,
        redis=redis,
        objects=objects,
        portal=make.program("portal", "tests.chaos.portal"),
        keepers=[make.program(f"keeper-{n}", "tests.chaos.keeper") for n in range(plan.keepers)],
        hosts=[make.host(n) for n in range(plan.hosts)],
        database=database,
        store=store,
    )


def _register_checkpoints(database: Database, store: Store) -> None:
    """Their files lie in the store, as those of real ones do; what they hold is no weights."""
    for name in CHECKPOINTS:
        a_stored_checkpoint(database, store, {path: _content(f"{name}/{path}") for path in _FILES}, name)


def _content(name: str) -> bytes:
    return random.Random(name).randbytes(_FILE_BYTES)


@dataclass
class _Maker:
    """Puts programs together: their environment, their logs, their lines."""

    plan: Plan
    folder: Path
    settings: Settings
    network: Network

    def program(self, name: str, module: str, *arguments: str, **env: str) -> Program:
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        shared = {
            **build_environment(self.settings),
            **python_environment(),
            **_CREDENTIALS,
            tampering.SEED: f"{self.plan.seed}-{name}",
            tampering.LOST_RINGS: str(self.plan.lost_rings),
            STEP_SECONDS: str(self.plan.step_seconds),
        }
        pause = random.Random(f"{self.plan.seed}-{name}")
        return Program(name, module, arguments, {**shared, **env}, logs / f"{name}.log", pause)

    def host(self, number: int) -> Host:
        """Hosts reach Postgres and Redis through lines of their own; the last ones live an hour ahead."""
        postgres = self.network.line(self.folder / "run" / ".s.PGSQL.5432")
        redis = self.network.line(self.folder / "run-redis" / "redis.sock")
        spool, cache = self.folder / f"spool-{number}", self.folder / f"cache-{number}"
        env = {
            tampering.HOST: f"host-{number}",
            "FARM_DATABASE_URL": f"postgresql://farm@127.0.0.1:{postgres.port}/farm",
            "FARM_REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
            "FARM_SPOOL_DIR": str(spool),
            "FARM_CACHE_DIR": str(cache),
        }
        if self.plan.cached_checkpoints is not None:
            env[CACHE_BYTES] = str(self.plan.cached_checkpoints * len(_FILES) * _FILE_BYTES)
        if number >= self.plan.hosts - self.plan.skewed_hosts:
            env[tampering.CLOCK_SKEW_SECONDS] = "3600"
        if not self.plan.is_fenced:
            env[tampering.NO_FENCE] = "1"
        program = self.program(f"host-{number}", "tests.chaos.worker", "--devices", self.plan.devices, **env)
        return Host(program, postgres, redis, spool, cache)

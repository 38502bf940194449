"""A farm for one measurement, in a temporary folder, with the settings of `farm up`."""

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from farm import config
from farm.config import Settings
from farm.db import migrate
from farm.db.connection import Database, Role
from farm.embedded.postgres import Postgres
from farm.embedded.redis import Redis
from farm.weights import checkpoints
from farm.weights.folder import CheckpointFolder


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder that Postgres' own user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="farm-bench-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True)
class ScratchServers:
    """A migrated Postgres without a row but that of the user `local`, and a Redis without listeners.

    The ids are those of their processes.
    """

    folder: Path
    settings: Settings
    database: Database
    postgres_pid: int
    redis_pid: int


@contextmanager
def scratch_database() -> Iterator[tuple[Settings, Database]]:
    """Scratch servers with one checkpoint, `bench`, that has no files."""
    with scratch_servers() as servers:
        with servers.database.begin() as session:
            checkpoints.add(session, "bench", CheckpointFolder(servers.folder, "sd15", "0" * 64))
        yield servers.settings, servers.database


@contextmanager
def scratch_servers() -> Iterator[ScratchServers]:
    """Servers for one measurement."""
    with scratch_folder() as folder:
        postgres = Postgres(folder / "postgres", folder / "run")
        redis = Redis(folder / "redis", folder / "run-redis")
        postgres.start()
        redis.start()
        migrate.upgrade(postgres.url)
        store_url = (folder / "store").as_uri()
        settings = config.load_given(
            database_url=postgres.url, redis_url=redis.url, store_url=store_url, secret_key="of this measurement"
        )
        database = Database(postgres.url, Role.TOOL)
        assert postgres.process is not None, "it was started"
        assert redis.process is not None, "it was started"
        try:
            yield ScratchServers(folder, settings, database, postgres.process.pid, redis.process.pid)
        finally:
            database.close()
            redis.stop()
            postgres.stop()


def describe_machine() -> str:
    """One line about the machine that the figures were measured on."""
    try:
        model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        model = None
    name = model[1] if model else platform.machine()
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"

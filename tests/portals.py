"""Portals in processes of their own, as `farm web` starts them, on the test's own farm."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from farm.config import Settings


@dataclass(frozen=True)
class RunningPortal:
    """A portal that answers."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self, begin: bytes = b"", **options: int) -> socket.socket:
        """A connection that has sent so much; `options` are those of a socket, set before it connects."""
        connection = socket.socket()
        connection.settimeout(15)
        for name, value in options.items():
            connection.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        connection.connect(("127.0.0.1", self.port))
        connection.sendall(begin)
        return connection

    def seconds_to_answer(self, path: str = "/healthz") -> float:
        begun = time.monotonic()
        httpx.get(self.url + path, timeout=10).raise_for_status()
        return time.monotonic() - begun

    def stop(self) -> str:
        """End it; return its log."""
        self.process.terminate()
        return self.process.communicate(timeout=15)[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
        return number


def environment_of(settings: Settings, port: int) -> dict[str, str]:
    """What makes `python -m web` serve the farm of these settings."""
    return {
        "PATH": os.environ["PATH"],
        "FARM_DATA_DIR": str(settings.data_dir),
        "FARM_DATABASE_URL": settings.required_database_url,
        "FARM_REDIS_URL": settings.required_redis_url,
        "FARM_STORE_URL": settings.required_store_url,
        "FARM_SECRET_KEY": settings.secret_key or "",
        "FARM_PORT": str(port),
    }


def start(environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "web"], env=environment, stderr=subprocess.PIPE, text=True)


@contextmanager
def run_portal(settings: Settings, **changes: str) -> Iterator[RunningPortal]:
    """A portal that answers on loopback, with settings by their variables; it is killed at the end."""
    port = free_port()
    with start({**environment_of(settings, port), **changes}) as process:
        try:
            wait_until_ready(f"http://127.0.0.1:{port}")
            yield RunningPortal(process, port)
        finally:
            process.kill()


def wait_until_ready(url: str) -> httpx.Response:
    for _ in range(150):
        try:
            return httpx.get(f"{url}/readyz")
        except httpx.ConnectError:
            time.sleep(0.1)
    raise TimeoutError(url)

"""The portal's process: checks what must be right before it starts, then hands over to gunicorn."""

import errno
import socket
import sys
from typing import Any

import structlog
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from sqlalchemy.exc import SQLAlchemyError

from farm import accounts, config, crashpoints, logs
from farm.config import Settings, http_url
from farm.database import Database, Role
from farm.errors import ConfigError
from farm.store import open_store
from web.app import create_app
from web.safety import is_loopback

log = structlog.get_logger(__name__)

_GRACE_SECONDS = 10
# gunicorn's own 2 s close connections just as a client that polls uses them again.
_KEEPALIVE_SECONDS = 75
_BACKLOG = 2048


class AddressUnusable(Exception):
    """The portal cannot listen where it was told to."""


class FarmLog(Logger):  # type: ignore[misc]  # gunicorn ships no types
    """What gunicorn has to say goes into the farm's own log, in its format and with its escapes."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.propagate = True


class PortalServer(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn with one process of threads, on a socket that is bound already."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        super().__init__()

    def load_config(self) -> None:
        options = {
            "bind": f"fd://{self._listener.fileno()}",
            "worker_class": "gthread",
            "workers": 1,
            "threads": self._settings.web_threads,
            "graceful_timeout": _GRACE_SECONDS,
            "keepalive": _KEEPALIVE_SECONDS,
            "loglevel": "warning",
            "errorlog": None,
            "logger_class": FarmLog,
            "proc_name": "farm-portal",
            "when_ready": self._say_ready,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Called in the process that serves: connections must not be shared with its parent."""
        crashpoints.arm(self._settings.crash_points)
        return create_app(self._settings)

    def _say_ready(self, _arbiter: Any) -> None:
        log.info("The portal is open.", url=http_url(self._settings.host, self._settings.port))


def main() -> int:
    """Run the portal; return the exit status: 2 for settings that are wrong, 1 where it cannot listen."""
    try:
        settings = config.load()
        logs.configure(settings)
        _check(settings)
        listener = listen(settings.host, settings.port)
    except ConfigError as error:
        return _give_up(error, 2)
    except AddressUnusable as error:
        return _give_up(error, 1)
    PortalServer(settings, listener).run()
    return 0


def _give_up(error: Exception, status: int) -> int:
    sys.stderr.write(f"{error}\n")
    return status


def _check(settings: Settings) -> None:
    """Raise ConfigError for what would otherwise break the first request, or leave the farm open to all."""
    _ = settings.required_database_url, settings.required_redis_url
    open_store(settings)
    if not is_loopback(settings):
        _require_accounts(settings)


def _require_accounts(settings: Settings) -> None:
    database = Database.of(settings, Role.TOOL)
    try:
        with database.begin() as session:
            found = accounts.has_accounts(session)
    except SQLAlchemyError as error:
        raise ConfigError(
            f"FARM_HOST={settings.host} opens the portal to a network, which takes accounts, and the database "
            "cannot be asked for them. Is it running, and did you run `farm db upgrade`?"
        ) from error
    finally:
        database.close()
    if not found:
        raise ConfigError(
            f"FARM_HOST={settings.host} opens the portal to a network, and nobody has an API key. "
            "Make one with `farm users add NAME`, or set FARM_HOST=127.0.0.1."
        )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that gunicorn inherits. Raises AddressUnusable."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressUnusable(
                f"Port {port} on {host} is in use. Stop what uses it, or set FARM_PORT to another."
            ) from error
        raise AddressUnusable(f"Cannot listen on {host}, port {port}: {error.strerror or error}") from error

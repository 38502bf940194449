"""The portal's process: checks its settings, then runs uvicorn."""

import errno
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import structlog
import uvicorn
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from farm import accounts, config, crashpoints, logs
from farm.config import Settings
from farm.db.connection import Database, Role
from farm.errors import ConfigError
from farm.network.addresses import http_url
from farm.store.protocol import open_store
from web.app import create_app
from web.guard.foreign import is_private
from web.guard.forwarded import Proxies
from web.serving.asgi import Front
from web.serving.connections import OpenConnections
from web.serving.heads import MAX_HEAD_BYTES
from web.serving.protocol import FarmProtocol, SharedState

log = structlog.get_logger(__name__)

# `farm up` waits for 10 s, and so does Docker.
_GRACE_SECONDS = 8
# uvicorn's own 5 s close connections just as a client that polls uses them again.
_KEEPALIVE_SECONDS = 75
_BACKLOG = 2048
_MOST_CONNECTIONS = 8192
_FILES_OF_ITS_OWN = 200
# A browser opens six.
_FEW_CONNECTIONS = 200


class AddressUnusable(Exception):
    """The portal cannot listen on the configured address."""


class PortalServer(uvicorn.Server):
    """uvicorn, which logs when it is open, and treats SIGTERM and Ctrl-C as the ordinary end."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        log.info("The portal is open.", url=self._url)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, which afterwards sends the signal to itself once more, so that the process dies of it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield


def main() -> int:
    """Run the portal; return the exit status: 2 for settings that are wrong, 1 where it cannot listen."""
    try:
        settings = config.load()
        logs.configure(settings)
        _check_settings(settings)
        listener = listen(settings.host, settings.port)
    except ConfigError as error:
        return _print_error(error, 2)
    except AddressUnusable as error:
        return _print_error(error, 1)
    serve(settings, listener)
    return 0


def serve(settings: Settings, listener: socket.socket) -> None:
    """Serve on this socket until a signal; then finish requests in progress for at most _GRACE_SECONDS."""
    crashpoints.arm(settings.crash_points)
    app = create_app(settings)
    threads = ThreadPoolExecutor(settings.web_threads, thread_name_prefix="request")
    PortalServer(_configure(app, settings, threads), http_url(settings.host, settings.port)).run([listener])
    threads.shutdown(wait=False, cancel_futures=True)
    # Python would wait for threads, for example one that waits for a database that hangs.
    sys.stderr.flush()
    os._exit(0)


def _configure(app: Flask, settings: Settings, threads: ThreadPoolExecutor) -> uvicorn.Config:
    """uvicorn with our protocol. It logs only unexpected errors, in the farm's own log."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    proxies = Proxies.of(settings)
    shared = SharedState(
        OpenConnections(settings.web_connections, _most_connections()), settings.request_seconds, proxies.trust
    )
    front = Front(app, threads, proxies.client_of, settings.request_seconds, settings.web_connections)
    return uvicorn.Config(
        front,
        # uvicorn only calls it.
        http=cast(Any, partial(FarmProtocol, shared)),
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_keep_alive=_KEEPALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        backlog=_BACKLOG,
    )


def _most_connections() -> int:
    """As many as this process may have; its limit of open files is raised up to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_CONNECTIONS + _FILES_OF_ITS_OWN
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = connections_for_files(None if soft == resource.RLIM_INFINITY else soft)
    if warning := warn_of_few(most, soft):
        log.warning(warning, open_files=soft, connections=most)
    return most


def connections_for_files(files: int | None) -> int:
    """How many connections so many open files allow, None for no limit: the rest after the portal's own files."""
    # Bodies and answers on disk take a file each.
    return _MOST_CONNECTIONS if files is None else max(1, (files - _FILES_OF_ITS_OWN) // 2)


def warn_of_few(connections: int, files: int) -> str | None:
    """The warning about a limit that a few browsers exhaust; None where it is high enough."""
    if connections >= _FEW_CONNECTIONS:
        return None
    enough = _FILES_OF_ITS_OWN + 2 * _FEW_CONNECTIONS
    return (
        f"The portal takes at most {connections} connections at a time, because it may open no more than {files} "
        f"files. Raise the hard limit of open files to {enough} or more (ulimit -Hn, LimitNOFILE= of systemd, "
        "--ulimit nofile= of Docker)."
    )


def _print_error(error: Exception, status: int) -> int:
    sys.stderr.write(f"{error}\n")
    return status


def _check_settings(settings: Settings) -> None:
    """Raise ConfigError for what would otherwise break the first request, or leave the farm open to all."""
    _ = settings.required_database_url, settings.required_redis_url
    open_store(settings)
    if not is_private(settings):
        _require_accounts(settings)


def _require_accounts(settings: Settings) -> None:
    cause = (
        f"FARM_TRUSTED_PROXIES={settings.trusted_proxies}"
        if settings.trusted_proxies
        else f"FARM_HOST={settings.host}"
    )
    database = Database.of(settings, Role.TOOL)
    try:
        with database.begin() as session:
            found = accounts.has_accounts(session)
    except SQLAlchemyError as error:
        raise ConfigError(
            f"{cause} opens the portal to a network, which requires accounts, and the database "
            "cannot be read to look for them. Is it running, and did you run `farm db upgrade`?"
        ) from error
    finally:
        database.close()
    if not found:
        raise ConfigError(
            f"{cause} opens the portal to a network, and no user has an API key. "
            "Make one with `farm users add NAME`, or set FARM_HOST=127.0.0.1 without FARM_TRUSTED_PROXIES."
        )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises AddressUnusable."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressUnusable(
                f"Port {port} on {host} is in use. Stop the program that uses it, or set FARM_PORT to another."
            ) from error
        raise AddressUnusable(f"Cannot listen on {host}, port {port}: {error.strerror or error}") from error

"""A connection: uvicorn's protocol, with time limits for heads that arrive slowly and answers that are not read."""

import asyncio
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import structlog
from h11 import IDLE, SEND_RESPONSE
from uvicorn.protocols.http.h11_impl import H11Protocol

from web.guard.addresses import share_of
from web.guard.refusals import Refusals
from web.serving.connections import AddressFull, OpenConnections
from web.serving.pieces import TURN_BYTES, BoundedReader

log = structlog.get_logger(__name__)

Endpoint = tuple[str, int]
MAX_LINE_BYTES = 4 * 2**10
_SEND_BUFFER_BYTES = 256 * 2**10
TOO_MANY = "This address has too many requests open; try again shortly."
CONNECTION = "connection"
"""Where a request's `state` holds the connection it came through."""


@dataclass(frozen=True)
class SharedState:
    """What all connections share. Connections from trusted proxies are not limited by address."""

    open_connections: OpenConnections
    patience_seconds: float
    is_proxy: Any
    bad_clients: Refusals = field(default_factory=Refusals)


class FarmProtocol(H11Protocol):
    """One connection. It waits from its first byte on, and works while `web.serving.asgi` has its request called.

    1. A head must be there `patience_seconds` after the connection, or after the first byte that follows an answer.
    2. Bodies and answers are timed where they are read and sent, in `web.serving.asgi`.
    3. What of an answer then still lies in the buffer gets as long again.
    """

    def __init__(self, shared: SharedState, **given: Any) -> None:
        super().__init__(**given)
        self._reader = BoundedReader(self.config.h11_max_incomplete_event_size or MAX_LINE_BYTES * 16)
        self.conn = self._reader
        self._unread = bytearray()
        self._shared = shared
        self._timer: asyncio.TimerHandle | None = None
        self.share = ""

    @property
    def ends(self) -> tuple[Endpoint, Endpoint] | None:
        """Address and port of the client and of this side."""
        if self.client is None or self.server is None or self.server[1] is None:
            return None
        return self.client, (self.server[0], self.server[1])

    @property
    def is_closing(self) -> bool:
        return self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        _bound_buffer(transport)
        address = self.client[0] if self.client else ""
        self.share = share_of(address)
        self.app_state = {**self.app_state, CONNECTION: self}
        try:
            self._shared.open_connections.enter(self, bounded=not self._shared.is_proxy(address))
        except AddressFull:
            self._refuse(HTTPStatus.TOO_MANY_REQUESTS, TOO_MANY)
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_timer()
        self._shared.open_connections.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._unread:
            self._unread += data
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        """Read as much as one turn of the loop allows; the rest waits until other connections had their turn."""
        if self._reader.may_be_small and len(data) > TURN_BYTES:
            self._unread += data[TURN_BYTES:]
            data = data[:TURN_BYTES]
            self.transport.pause_reading()
            self.loop.call_soon(self._read_on)
        self._feed_reader(data)

    def _read_on(self) -> None:
        data = bytes(self._unread)
        self._unread.clear()
        if self.is_closing:
            return
        if not self.flow.read_paused:
            self.transport.resume_reading()
        self._read(data)

    def _feed_reader(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget_timer()
        elif not self.is_closing:
            self._check_line()
            if self._timer is None:
                self._await_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(self._shared.patience_seconds, self._cut_off, self.cycle)

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls this when the bytes received are not HTTP."""
        if self._shared.bad_clients.count(self.share, time.monotonic()).is_logged:
            log.warning("Invalid request: the bytes received are not HTTP.", address=self.client and self.client[0])
        self._refuse(HTTPStatus.BAD_REQUEST, "This is not a request that HTTP allows, or its head is too large.")

    def work(self) -> None:
        self._shared.open_connections.work(self)

    def wait(self) -> None:
        self._shared.open_connections.wait(self)

    def close_now(self) -> None:
        self.transport.abort()

    def _check_line(self) -> None:
        """Refuse an address that is too long, or too many headers, before the rest of the head comes."""
        if self._reader.has_too_many_lines:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "There are too many headers.")
            return
        held = self.conn.trailing_data[0][: MAX_LINE_BYTES + 1]
        if len(held) > MAX_LINE_BYTES and b"\n" not in held:
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG, f"The address is longer than {MAX_LINE_BYTES:,} bytes.")

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(self._shared.patience_seconds, self._end_head)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_head(self) -> None:
        self._timer = None
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The request did not come in time.")

    def _cut_off(self, cycle: object) -> None:
        """Close the connection, unless the next answer has begun, which has a time limit of its own."""
        if cycle is self.cycle and self.transport.get_write_buffer_size():
            self.transport.abort()

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Answer without asking the portal, unless an answer has begun, and close."""
        if not self.is_closing and self.conn.our_state in (IDLE, SEND_RESPONSE):
            self.transport.write(_build_plain_answer(status, {"Retry-After": "1"}, sentence))
        self.transport.close()


def _bound_buffer(transport: asyncio.Transport) -> None:
    """Linux would buffer up to 4 MiB for each client that does not read."""
    if connection := transport.get_extra_info("socket"):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        # An answer leaves in two pieces: the second would wait until the client has acknowledged the first.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _build_plain_answer(status: HTTPStatus, headers: Mapping[str, str], sentence: str) -> bytes:
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", "Content-Type: text/plain; charset=utf-8"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(sentence)}", "Connection: close", "", sentence]
    return "\r\n".join(lines).encode()

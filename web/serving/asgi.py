"""The ASGI application that uvicorn runs: it turns requests into calls of the portal.

Measured with 16 threads: 64 half-sent requests stop gunicorn's gthread, and 300 open event streams also waitress
and granian's WSGI. An event loop answers on, at 13 KiB a stream; of these uvicorn is the smallest, at 34 MiB where
gevent and hypercorn take 65 and 78. Under gevent one decoded picture would stop every other request.

Event streams and requests that wait for an image do not suit WSGI, where each would hold a thread. They belong
here, as an asynchronous generator that the loop resumes when there is something to send. The portal is called with
the head alone to check whether such a stream may begin, as for a body.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import structlog

from web.guard.addresses import share_of
from web.guard.admission import ANSWER_AFTER, BODY_LIMIT, HEAD_ONLY, PEER
from web.serving.bodies import BodyFile, ClientGone, Receive, drain_briefly, read_body
from web.serving.connections import AddressFull, AddressUsage
from web.serving.heads import ArrivingRequest, BadHead, check_head
from web.serving.pace import STRETCH_BYTES, Pace
from web.serving.protocol import CONNECTION, TOO_MANY
from web.serving.wsgi import Environ, PortalAnswer, build_environ, build_refusal, call_portal

log = structlog.get_logger(__name__)

AsgiSend = Callable[[Mapping[str, Any]], Awaitable[None]]

# A smaller body is read without asking the portal first.
_SMALL_BODY_BYTES = 16 * 2**10
_BODY_BYTES_PER_ADDRESS = 512 * 2**20


@dataclass(frozen=True)
class Front:
    """Calls `portal` in `threads`.

    `client_of` names the address that a request counts for: behind a proxy that of the proxy's client.
    """

    portal: Any
    threads: ThreadPoolExecutor
    client_of: Callable[[Environ], str]
    patience_seconds: float
    most_requests_per_address: int
    _requests: AddressUsage = field(default_factory=AddressUsage)
    _bytes: AddressUsage = field(default_factory=AddressUsage)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: AsgiSend) -> None:
        """Answer one request.

        1. A head that is too large or ambiguous is refused.
        2. A larger body is read only if the portal, called with the head alone, accepts it.
        3. The portal is called with the whole request, in a thread.
        4. The answer is sent, without one.
        """
        request = ArrivingRequest(scope, receive, scope["state"][CONNECTION], dict(scope["headers"]))
        environ = build_environ(scope) | {PEER: request.connection.ends}
        share = share_of(self.client_of(environ))
        try:
            with self._requests.hold(share, 1, most=self.most_requests_per_address):
                answer, is_read = await self._answer(request, environ, share)
                await asyncio.sleep(environ.get(ANSWER_AFTER, 0))
                await self._send(request, answer, send, is_read=is_read)
        except ClientGone:
            request.connection.close_now()
        except AddressFull:
            answer = build_refusal(HTTPStatus.TOO_MANY_REQUESTS, TOO_MANY)
            await self._send(request, answer, send, is_read=not request.has_body)

    async def _answer(self, request: ArrivingRequest, environ: Environ, share: str) -> tuple[PortalAnswer, bool]:
        """The answer, and whether the request was read to its end."""
        try:
            check_head(request)
            if not request.has_body:
                return await self._call(request, environ, BodyFile()), True
            wanted = await self._wanted_bytes(request, environ)
            if isinstance(wanted, PortalAnswer):
                return wanted, False
            with self._bytes.hold(share, wanted, most=max(wanted, _BODY_BYTES_PER_ADDRESS)):
                body, length = await read_body(request.receive, wanted, Pace.from_now(self.patience_seconds))
                environ["CONTENT_LENGTH"] = str(length)
                return await self._call(request, environ, body), length <= wanted
        except BadHead as error:
            return build_refusal(error.status, str(error)), False
        except TimeoutError:
            return build_refusal(HTTPStatus.REQUEST_TIMEOUT, "The body of the request came too slowly."), False
        except OSError as error:
            log.error("A body or an answer could not be written to disk.", error=str(error))
            return build_refusal(HTTPStatus.SERVICE_UNAVAILABLE, "The disk of the portal's machine is full."), False

    async def _wanted_bytes(self, request: ArrivingRequest, environ: Environ) -> int | PortalAnswer:
        """How long a body to read, or why none: what is refused by its head alone is never read."""
        declared = request.declared_bytes
        # The length of a chunked body is set once it has been read.
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        if declared is not None and declared <= _SMALL_BODY_BYTES:
            return declared
        asked = {**environ, HEAD_ONLY: True}
        answer = await self._call(request, asked, BodyFile())
        if BODY_LIMIT not in asked:
            environ[ANSWER_AFTER] = asked.get(ANSWER_AFTER, 0)
            return answer
        answer.body.close()
        limit: int = asked[BODY_LIMIT] if declared is None else declared
        return limit

    async def _call(self, request: ArrivingRequest, environ: Environ, body: BodyFile) -> PortalAnswer:
        def call_unless_gone() -> PortalAnswer:
            # It may have waited for a thread: a client that has disconnected by now is not served.
            if request.connection.is_closing:
                raise ClientGone
            return call_portal(self.portal, environ)

        # The same dict, not a copy: the portal sets keys in it.
        environ["wsgi.input"] = body
        request.connection.work()
        try:
            with body:
                return await asyncio.get_running_loop().run_in_executor(self.threads, call_unless_gone)
        finally:
            request.connection.wait()

    async def _send(self, request: ArrivingRequest, answer: PortalAnswer, send: AsgiSend, *, is_read: bool) -> None:
        """Send an answer as it is read. What was not read of the request ends the connection, after a moment."""
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        if not is_read:
            headers.append((b"connection", b"close"))
        pace, left = Pace.from_now(self.patience_seconds), answer.length
        try:
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            while left:
                piece = answer.body.read(STRETCH_BYTES)
                async with pace.limit():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                pace, left = pace.after(len(piece)), left - len(piece)
            if not is_read:
                await drain_briefly(request.receive)
            async with pace.limit():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            request.connection.close_now()
        finally:
            answer.body.close()

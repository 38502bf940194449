"""Requests as they arrive become calls of the portal: the ASGI application that uvicorn runs.

Measured with 16 threads: 64 half-sent requests stop gunicorn's gthread, and 300 open event streams also waitress
and granian's WSGI. An event loop answers on, at 13 KiB a stream; of these uvicorn is the smallest, at 34 MiB where
gevent and hypercorn take 65 and 78. Under gevent one decoded picture would stop every other request.

Streams of events and callers that wait for an image are not WSGI's, where each would hold a thread. They belong
here: an asynchronous generator that the loop resumes when there is something to say, sent as `_send` sends what is
there already. The portal is asked with the head alone whether such a stream may begin, as it is asked for a body.
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
from web.serving.bodies import Gone, Receive, Spool, let_finish, read_body
from web.serving.connections import Full, Shares
from web.serving.heads import BadHead, Request, check_head
from web.serving.pace import STRETCH_BYTES, Pace
from web.serving.protocol import CONNECTION, TOO_MANY
from web.serving.wsgi import Answer, Environ, call, environ_of, refusal

log = structlog.get_logger(__name__)

Send = Callable[[Mapping[str, Any]], Awaitable[None]]

# What is no larger is read before the portal is asked whether it wants it.
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
    _requests: Shares = field(default_factory=Shares)
    _bytes: Shares = field(default_factory=Shares)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request.

        1. A head that is too large or ambiguous is refused.
        2. A body that is more than small is read only if the portal, asked with the head alone, wants it.
        3. The portal is called with the whole request, in a thread.
        4. The answer is sent, without one.
        """
        request = Request(scope, receive, scope["state"][CONNECTION], dict(scope["headers"]))
        environ = environ_of(scope) | {PEER: request.connection.ends}
        share = share_of(self.client_of(environ))
        try:
            with self._requests.hold(share, 1, most=self.most_requests_per_address):
                answer, is_read = await self._answer(request, environ, share)
                await asyncio.sleep(environ.get(ANSWER_AFTER, 0))
                await self._send(request, answer, send, is_read=is_read)
        except Gone:
            request.connection.push_out()
        except Full:
            answer = refusal(HTTPStatus.TOO_MANY_REQUESTS, TOO_MANY)
            await self._send(request, answer, send, is_read=not request.has_body)

    async def _answer(self, request: Request, environ: Environ, share: str) -> tuple[Answer, bool]:
        """The answer, and whether the request was read to its end."""
        try:
            check_head(request)
            if not request.has_body:
                return await self._call(request, environ, Spool()), True
            wanted = await self._wanted_bytes(request, environ)
            if isinstance(wanted, Answer):
                return wanted, False
            with self._bytes.hold(share, wanted, most=max(wanted, _BODY_BYTES_PER_ADDRESS)):
                body, length = await read_body(request.receive, wanted, Pace.from_now(self.patience_seconds))
                environ["CONTENT_LENGTH"] = str(length)
                return await self._call(request, environ, body), length <= wanted
        except BadHead as error:
            return refusal(error.status, str(error)), False
        except TimeoutError:
            return refusal(HTTPStatus.REQUEST_TIMEOUT, "The body of the request came too slowly."), False
        except OSError as error:
            log.error("There is no room for a body or an answer on its way.", error=str(error))
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, "The portal's machine has no room on its disk."), False

    async def _wanted_bytes(self, request: Request, environ: Environ) -> int | Answer:
        """How long a body to read, or why none: what is refused by its head alone is never read."""
        declared = request.declared_bytes
        # What comes in chunks is told its length once it is here.
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        if declared is not None and declared <= _SMALL_BODY_BYTES:
            return declared
        asked = {**environ, HEAD_ONLY: True}
        answer = await self._call(request, asked, Spool())
        if BODY_LIMIT not in asked:
            environ[ANSWER_AFTER] = asked.get(ANSWER_AFTER, 0)
            return answer
        answer.body.close()
        limit: int = asked[BODY_LIMIT] if declared is None else declared
        return limit

    async def _call(self, request: Request, environ: Environ, body: Spool) -> Answer:
        def call_unless_gone() -> Answer:
            # It may have waited for a thread: whoever leaves in the meantime costs none.
            if request.connection.is_closing:
                raise Gone
            return call(self.portal, environ)

        # The same dict, and no copy: the portal leaves word in it.
        environ["wsgi.input"] = body
        request.connection.work()
        try:
            with body:
                return await asyncio.get_running_loop().run_in_executor(self.threads, call_unless_gone)
        finally:
            request.connection.wait()

    async def _send(self, request: Request, answer: Answer, send: Send, *, is_read: bool) -> None:
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
                await let_finish(request.receive)
            async with pace.limit():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            request.connection.push_out()
        finally:
            answer.body.close()

"""Bodies of requests: read completely before the portal is called, the large ones on disk."""

from collections.abc import Awaitable, Callable, Mapping
from tempfile import SpooledTemporaryFile
from typing import Any

from web.serving.pace import Pace

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
BodyFile = SpooledTemporaryFile[bytes]

# Hundreds may be on their way at once.
IN_MEMORY_BYTES = 64 * 2**10
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 2**20


class ClientGone(Exception):
    """The client closed the connection before its request was whole."""


async def read_body(receive: Receive, limit: int, pace: Pace) -> tuple[BodyFile, int]:
    """The body and its length; of a body longer than the limit only enough to show that.

    Raises ClientGone, TimeoutError where it arrives too slowly, and OSError where the disk is full.
    """
    body, length, is_whole = BodyFile(IN_MEMORY_BYTES), 0, False
    try:
        while not is_whole and length <= limit:
            async with pace.limit():
                piece, is_whole = await _next_piece(receive)
            body.write(piece)
            pace, length = pace.after(len(piece)), length + len(piece)
        body.seek(0)
    except BaseException:
        body.close()
        raise
    return body, length


async def drain_briefly(receive: Receive) -> None:
    """Read on for a moment after a refusal.

    A connection that is closed while its client still sends is reset, and the client never sees the answer.
    """
    pace, length, is_whole = Pace.from_now(_LINGER_SECONDS), 0, False
    try:
        while not is_whole and length < _LINGER_BYTES:
            async with pace.limit():
                piece, is_whole = await _next_piece(receive)
            length += len(piece)
    except (ClientGone, TimeoutError):
        return


async def _next_piece(receive: Receive) -> tuple[bytes, bool]:
    """The next bytes, and whether they are the last."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message.get("body", b""), not message.get("more_body", False)

"""A request whose head has arrived: what it declares about its body, and the checks of its head."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from web.serving.bodies import Receive
from web.serving.protocol import MAX_LINE_BYTES, FarmProtocol

MAX_HEADER_BYTES = 8 * 2**10
MAX_HEADERS = 100
MAX_HEAD_BYTES = 64 * 2**10


class BadHead(Exception):
    """The request is refused without calling the portal."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class ArrivingRequest:
    """A request as it arrives, and the connection it arrives through."""

    scope: Mapping[str, Any]
    receive: Receive
    connection: FarmProtocol
    headers: Mapping[bytes, bytes]

    @property
    def has_body(self) -> bool:
        return b"transfer-encoding" in self.headers or self.declared_bytes not in (None, 0)

    @property
    def declared_bytes(self) -> int | None:
        """None for a body that comes in chunks, or for none."""
        declared = self.headers.get(b"content-length")
        return None if declared is None else int(declared)


def check_head(request: ArrivingRequest) -> None:
    """Raise BadHead for one that is too large, or that two readers may understand differently."""
    scope = request.scope
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_LINE_BYTES:
        raise BadHead(HTTPStatus.REQUEST_URI_TOO_LONG, f"The address is longer than {MAX_LINE_BYTES:,} bytes.")
    if len(scope["headers"]) > MAX_HEADERS:
        raise BadHead(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"There are more than {MAX_HEADERS} headers.")
    for name, value in scope["headers"]:
        if len(name) + len(value) > MAX_HEADER_BYTES:
            raise BadHead(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"The header {name[:40].decode('latin-1')} is longer than {MAX_HEADER_BYTES:,} bytes.",
            )
    if b"transfer-encoding" in request.headers and b"content-length" in request.headers:
        # A proxy in front may have used the other one: the rest would then be another client's request.
        raise BadHead(HTTPStatus.BAD_REQUEST, "The request declares its length in two ways.")

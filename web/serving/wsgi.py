"""A complete request as a call of the portal, and the portal's answer."""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

from web.serving.bodies import IN_MEMORY_BYTES, BodyFile

Environ = dict[str, Any]
Headers = list[tuple[str, str]]

_RETRY_SECONDS = 5


@dataclass(frozen=True)
class PortalAnswer:
    """A complete answer. The caller must close its body."""

    status: int
    headers: Headers
    body: BodyFile
    length: int


def build_environ(scope: Mapping[str, Any]) -> Environ:
    """What PEP 3333 asks for, without the body.

    Headers whose names hold an underscore are left out, as nginx and gunicorn do: `X_Forwarded_For` would read here
    as `X-Forwarded-For`, which a proxy guards.
    """
    client, server = scope["client"] or ("", 0), scope["server"] or ("", 0)
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in scope["headers"]:
        if b"_" not in name:
            _add_header(environ, name.decode("latin-1").upper().replace("-", "_"), value.decode("latin-1"))
    return environ


def _add_header(environ: Environ, name: str, value: str) -> None:
    key = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
    joint = "; " if name == "COOKIE" else ","
    environ[key] = f"{environ[key]}{joint}{value}" if key in environ else value


def call_portal(app: Any, environ: Environ) -> PortalAnswer:
    """Call the portal and read its answer to the end, so that no thread waits for a slow client."""
    begun: list[Any] = []

    def start_response(status: str, headers: Headers, exc_info: object = None) -> None:
        begun[:] = [int(status.split(" ", 1)[0]), headers]

    pieces = app(environ, start_response)
    body = BodyFile(IN_MEMORY_BYTES)
    try:
        length = _write_all(pieces, body)
    except BaseException:
        body.close()
        raise
    return PortalAnswer(begun[0], begun[1], body, length)


def _write_all(pieces: Iterable[bytes], body: BodyFile) -> int:
    try:
        for piece in pieces:
            body.write(piece)
    finally:
        if hasattr(pieces, "close"):
            pieces.close()
    length = body.tell()
    body.seek(0)
    return length


def build_refusal(status: HTTPStatus, sentence: str) -> PortalAnswer:
    """An answer of the server itself: a problem document, as the API's are."""
    problem = {"type": "about:blank", "title": status.phrase, "status": status, "detail": sentence}
    body = BodyFile()
    length = body.write(json.dumps(problem).encode())
    body.seek(0)
    headers = [("Content-Type", "application/problem+json"), ("Content-Length", str(length))]
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers.append(("Retry-After", str(_RETRY_SECONDS)))
    return PortalAnswer(status, headers, body, length)

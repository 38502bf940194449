"""A small S3-compatible server that keeps objects as files, and fails on demand in the ways that networks fail."""

import hashlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "farm"
_LONGEST_HANG_SECONDS = 120.0
_PAGE = 1000


class Trouble(Enum):
    """How the server fails every request."""

    NONE = "serves"
    ERROR = "answers 500"
    HANG = "takes the request and does not answer"
    CUT = "reads half of what is sent, or sends half, and cuts the connection"
    MUTE = "does what is asked, and cuts the connection instead of answering"


class ObjectServer:
    """Listens on a port of its own. `trouble` may be changed at any time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.shelf = _Shelf(folder)
        self._thread = threading.Thread(target=self._server.serve_forever, name="objects", daemon=True)
        self._thread.start()

    @property
    def store_url(self) -> str:
        port = self._server.server_address[1]
        return f"s3://{BUCKET}/images?endpoint=http://127.0.0.1:{port}&region=us-east-1"

    @property
    def trouble(self) -> Trouble:
        return self._server.trouble

    @trouble.setter
    def trouble(self, trouble: Trouble) -> None:
        with self._server.changed:
            self._server.trouble = trouble
            self._server.changed.notify_all()

    @property
    def answer_instead(self) -> tuple[int, str] | None:
        """A status and a code of S3 that every request is answered with; None to serve."""
        return self._server.answer_instead

    @answer_instead.setter
    def answer_instead(self, answer: tuple[int, str] | None) -> None:
        self._server.answer_instead = answer

    def close(self) -> None:
        self.trouble = Trouble.NONE
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Shelf:
    """The objects: one file each, named by its quoted key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, content: bytes) -> None:
        partial = self._folder / f".{threading.get_ident()}"
        partial.write_bytes(content)
        partial.rename(self._path(key))

    def get(self, key: str) -> bytes | None:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            return None

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def listing(self, prefix: str, after: str) -> Iterator[tuple[str, int, datetime]]:
        """(key, bytes, last change) of the next page of keys."""
        keys = sorted(unquote(path.name) for path in self._folder.iterdir() if not path.name.startswith("."))
        for key in [key for key in keys if key.startswith(prefix) and key > after][:_PAGE]:
            state = self._path(key).stat()
            yield key, state.st_size, datetime.fromtimestamp(state.st_mtime, UTC)

    def _path(self, key: str) -> Path:
        return self._folder / quote(key, safe="")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    shelf: _Shelf

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.trouble = Trouble.NONE
        self.answer_instead: tuple[int, str] | None = None
        self.changed = threading.Condition()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed mid-request is what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    """Path-style requests: /bucket/key."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_PUT(self) -> None:
        length = int(self.headers["Content-Length"])
        if self._fails(length):
            return
        content = self.rfile.read(length)
        if len(content) < length:
            return
        self.server.shelf.put(self._key, content)
        self._answer(200, ETag=f'"{hashlib.md5(content).hexdigest()}"')

    def do_GET(self) -> None:
        if self._fails():
            return
        if not self._key:
            self._answer(200, self._listing())
        elif (content := self.server.shelf.get(self._key)) is None:
            self._refuse(0, 404, "NoSuchKey")
        else:
            self._answer(200, content)

    def do_HEAD(self) -> None:
        """Of an object, or of the bucket. The answer says how long the object is, and does not bring it."""
        if self._fails():
            return
        content = self.server.shelf.get(self._key) if self._key else b""
        if content is None:
            self._answer(404)
        else:
            self._answer(200, content)

    def do_DELETE(self) -> None:
        if not self._fails():
            self.server.shelf.delete(self._key)
            self._answer(204)

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}").lstrip("/")

    def _fails(self, length: int = 0) -> bool:
        """Fail the request as told to, before anything is done; say whether that happened."""
        if answer := self.server.answer_instead:
            self._refuse(length, *answer)
            return True
        match self.server.trouble:
            case Trouble.ERROR:
                self._refuse(length, 500, "InternalError")
            case Trouble.HANG:
                with self.server.changed:
                    self.server.changed.wait(_LONGEST_HANG_SECONDS)
                self.close_connection = True
            case Trouble.CUT:
                self.rfile.read(length // 2)
                if self.command == "GET":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
                self.close_connection = True
            case _:
                return False
        return True

    def _refuse(self, length: int, status: int, code: str) -> None:
        self.rfile.read(length)
        self._answer(status, f"<Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode())

    def _listing(self) -> bytes:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        page = list(self.server.shelf.listing(query.get("prefix", ""), query.get("continuation-token", "")))
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size>"
            f"<LastModified>{changed:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
            for key, size, changed in page
        )
        is_cut = len(page) == _PAGE
        token = f"<NextContinuationToken>{escape(page[-1][0])}</NextContinuationToken>" if is_cut else ""
        return (
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(is_cut).lower()}</IsTruncated>{token}{entries}</ListBucketResult>"
        ).encode()

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        if self.server.trouble is Trouble.MUTE:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the farm's logs say what it met."""

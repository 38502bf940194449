"""A hub of our own on real sockets: Hugging Face and Civitai by their APIs, a content server, and their faults."""

import hashlib
import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hub-token-that-nobody-else-may-see"
LARGE = 1000
"""Bytes from which a file is large: it has a sha256, and comes from the content server."""
PAGE = 3
"""Entries on one page of a repository's tree."""


@dataclass(frozen=True)
class Seen:
    """One request: at the `hub` or at the content server (`cdn`)."""

    server: str
    path: str
    headers: dict[str, str]

    @property
    def range(self) -> str | None:
        return self.headers.get("Range")


@dataclass
class Faults:
    """What goes wrong, each for as many requests for content as its list is long."""

    cut_after: list[int] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    has_ranges: bool = True
    has_etags: bool = True
    heeds_if_range: bool = True
    login_page: bool = False
    damaged: bool = False


@dataclass
class FakeHub:
    url: str = ""
    cdn_url: str = ""
    token: str | None = None
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    models: dict[int, dict[str, Any]] = field(default_factory=dict)
    content: dict[str, bytes] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    seen: list[Seen] = field(default_factory=list)

    def put(self, path: str, data: bytes) -> str:
        """Offer bytes at a plain address of the hub, which sends on to the content server."""
        self.content[path] = data
        return self.url + path

    def requests(self, server: str) -> list[Seen]:
        return [request for request in self.seen if request.server == server]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    with _serving(_HubHandler, hub) as url, _serving(_CdnHandler, hub) as cdn_url:
        hub.url, hub.cdn_url = url, cdn_url
        yield hub


@contextmanager
def _serving(handler: type["_Handler"], hub: FakeHub) -> Iterator[str]:
    server = _Server(("127.0.0.1", 0), handler)
    server.hub = hub
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: FakeHub

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    name = ""
    server: _Server

    @property
    def hub(self) -> FakeHub:
        return self.server.hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.hub.seen.append(Seen(self.name, self.path, dict(self.headers)))
        self.answer(unquote(urlsplit(self.path).path))

    def answer(self, path: str) -> None:
        raise NotImplementedError

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(body)

    def say_json(self, answer: Any, **headers: str) -> None:
        self.say(200, json.dumps(answer).encode(), Content_Type="application/json", **headers)

    def send_on(self, url: str) -> None:
        self.say(302, Location=url)

    def send_content(self, data: bytes) -> None:
        """The bytes as a content server gives them: ranges, If-Range, and the faults that are due."""
        faults = self.hub.faults
        if faults.answers:
            status, headers = faults.answers.pop(0)
            return self.say(status, b"not now", **headers)
        etag = f'"{sha256(data)[:16]}"'
        start = self._start(data, etag) if faults.has_ranges else None
        if start is not None and start >= len(data):
            return self.say(416, Content_Range=f"bytes */{len(data)}")
        body = data[start or 0 :]
        self.send_response(200 if start is None else 206)
        self.send_header("Content-Length", str(len(body)))
        if faults.has_etags:
            self.send_header("ETag", etag)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if faults.damaged:
            body = bytes(len(body))
        return self._cut(body, faults.cut_after.pop(0)) if faults.cut_after else self._send(body)

    def _start(self, data: bytes, etag: str) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        is_current = self.headers.get("If-Range", etag) == etag or not self.hub.faults.heeds_if_range
        return int(match[1]) if match and is_current else None

    def _send(self, body: bytes) -> None:
        with suppress(ConnectionError):
            self.wfile.write(body)

    def _cut(self, body: bytes, length: int) -> None:
        self._send(body[:length])
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True


class _CdnHandler(_Handler):
    """Serves by signed links, and refuses who shows a token too, as S3 does."""

    name = "cdn"

    def answer(self, path: str) -> None:
        if "Authorization" in self.headers or "signature=" not in self.path:
            return self.say(400, b"one way to sign in, please")
        return self.send_content(self.hub.content[path])


class _HubHandler(_Handler):
    name = "hub"

    def answer(self, path: str) -> None:
        if path == "/login":
            return self.say(200, b"<html>Sign in</html>", Content_Type="text/html; charset=utf-8")
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self.send_on("/login") if self.hub.faults.login_page else self.say(401)
        for pattern, answer in self._routes():
            if match := re.fullmatch(pattern, path):
                answer(*match.groups())
                return None
        return self._content(path) if path in self.hub.content else self.say(404)

    def _routes(self) -> list[tuple[str, Any]]:
        return [
            (r"/api/models/([^/]+/[^/]+)/revision/(.+)", self._revision),
            (rf"/api/models/([^/]+/[^/]+)/tree/{COMMIT}", self._tree),
            (rf"/([^/]+/[^/]+)/resolve/{COMMIT}/(.+)", self._resolve),
            (r"/api/v1/models/(\d+)", self._model),
            (r"/api/v1/model-versions/(\d+)", self._version),
        ]

    def _content(self, path: str) -> None:
        self.send_on(f"{self.hub.cdn_url}{path}?signature=s3cret")

    def _revision(self, repo: str, revision: str) -> None:
        if repo in self.hub.repos and revision in ("main", "refs/pr/1", COMMIT):
            return self.say_json({"id": repo, "sha": COMMIT})
        return self.say(404)

    def _tree(self, repo: str) -> None:
        """The files by pages, with a Link header that leads to the next."""
        start = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
        entries = [_entry(path, data) for path, data in sorted(self.hub.repos[repo].items())]
        link = f"<{self.hub.url}/api/models/{repo}/tree/{COMMIT}?recursive=true&cursor={start + PAGE}>"
        more = {"Link": f'{link}; rel="next"'} if start + PAGE < len(entries) else {}
        self.say_json(entries[start : start + PAGE], **more)

    def _resolve(self, repo: str, path: str) -> None:
        data = self.hub.repos[repo].get(path)
        if data is None:
            return self.say(404)
        if len(data) < LARGE:
            return self.send_content(data)
        self.hub.content[f"/blobs/{sha256(data)}"] = data
        return self._content(f"/blobs/{sha256(data)}")

    def _model(self, model_id: str) -> None:
        model = self.hub.models.get(int(model_id))
        return self.say_json(model) if model else self.say(404)

    def _version(self, version_id: str) -> None:
        for model in self.hub.models.values():
            for version in model["modelVersions"]:
                if version["id"] == int(version_id):
                    about = {"name": model["name"], "type": model["type"]}
                    return self.say_json({**version, "modelId": model["id"], "model": about})
        return self.say(404)


def _entry(path: str, data: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": blob}
    if len(data) >= LARGE:
        entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 134}
    return entry

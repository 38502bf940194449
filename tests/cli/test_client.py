"""Whom the client shows its key, and what it makes of answers that are not there yet."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from farm.cli.watching import download_images
from farm.client import Client, ImageUnreachable, PortalUnreachable, ServiceUnavailable
from farm.errors import FarmError
from farm.reports.shapes import ImageReport


@pytest.fixture
def keys_seen() -> list[str | None]:
    return []


@dataclass(frozen=True)
class Trouble:
    """An answer that says five bytes and brings these."""

    status: int
    body: bytes


TROUBLES = [Trouble(500, b"sorry"), Trouble(503, b"later"), Trouble(200, b"ima"), Trouble(503, b"")]


@pytest.fixture
def troubles() -> dict[str, Trouble]:
    """What is answered once, by path."""
    return {}


@pytest.fixture
def server(keys_seen: list[str | None], troubles: dict[str, Trouble]) -> Iterator[str]:
    """A web server that serves one image, and notes who showed it a key."""

    class Images(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys_seen.append(self.headers["Authorization"])
            if self.path in troubles:
                trouble = troubles.pop(self.path)
                self.send_response(trouble.status)
                self.send_header("Content-Length", "5")
                self.end_headers()
                self.wfile.write(trouble.body)
                return
            self.send_response(200 if self.path == "/image.png" else 404)
            self.end_headers()
            self.wfile.write(b"image")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Images) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def an_image(url: str) -> ImageReport:
    return ImageReport(
        task_id=1,
        job_id=1,
        seq=0,
        attempt=1,
        width=64,
        height=64,
        sha256="a" * 64,
        size_bytes=5,
        media_type="image/png",
        filename="1-00000-1.png",
        url=url,
        thumbnail_url=url,
        spec={},
        provenance={},
        created_at=datetime.now(UTC),
    )


def test_the_portal_gets_the_key(server: str, keys_seen: list[str | None], tmp_path: Path) -> None:
    with Client(server, api_key="secret") as client:
        client.download(an_image("/image.png"), tmp_path)
    assert keys_seen == ["Bearer secret"]


def test_a_host_whose_address_only_begins_like_the_portals_gets_no_key(
    server: str, keys_seen: list[str | None], tmp_path: Path
) -> None:
    with Client(server[:-1], api_key="secret") as client:
        client.download(an_image(f"{server}/image.png"), tmp_path)
    assert keys_seen == [None]


def test_an_image_saved_before_is_not_fetched_again(
    server: str, keys_seen: list[str | None], tmp_path: Path
) -> None:
    with Client(server) as client:
        paths = [client.download(an_image("/image.png"), tmp_path) for _ in range(2)]
    assert paths == [tmp_path / "1-00000-1.png"] * 2
    assert len(keys_seen) == 1


def test_an_image_that_is_refused_leaves_no_file(server: str, tmp_path: Path) -> None:
    with Client(server) as client, pytest.raises(FarmError, match=r"127\.0\.0\.1 answered 404 for an image"):
        client.download(an_image("/gone.png"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_image_that_cannot_be_fetched_now_leaves_no_file(
    server: str, troubles: dict[str, Trouble], tmp_path: Path, trouble: Trouble
) -> None:
    troubles["/image.png"] = trouble
    with Client(server) as client, pytest.raises(PortalUnreachable):
        client.download(an_image("/image.png"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_download_waits_for_a_store_that_is_away(
    server: str, troubles: dict[str, Trouble], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Trouble
) -> None:
    image = an_image("/image.png").model_copy(update={"spec": {"prompt": "a fox", "seed": 1}})
    monkeypatch.setattr(Client, "images", lambda *_: [image])
    monkeypatch.setattr(Client, "grids", lambda *_: [])
    troubles["/image.png"] = trouble
    with Client(server) as client:
        assert download_images(client, 1, tmp_path) == 1
    assert (tmp_path / "1-00000-1.png").read_bytes() == b"image"


def test_an_image_shorter_than_its_recorded_size_leaves_no_file(server: str, tmp_path: Path) -> None:
    image = an_image("/image.png").model_copy(update={"size_bytes": 6})
    with Client(server) as client, pytest.raises(ImageUnreachable, match="arrived with 5 of 6 bytes"):
        client.download(image, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_portal_whose_database_is_away_is_waited_for(server: str, troubles: dict[str, Trouble]) -> None:
    troubles["/api/v1/workers"] = Trouble(503, b"{}   ")
    with Client(server) as client, pytest.raises(ServiceUnavailable):
        client.workers()


@pytest.mark.parametrize("filename", ["../../1.png", "/etc/1.png", "..\\1.png"])
def test_a_portal_cannot_choose_the_folder(server: str, tmp_path: Path, filename: str) -> None:
    image = an_image("/image.png").model_copy(update={"filename": filename})
    with Client(server) as client:
        assert client.download(image, tmp_path / "out") == tmp_path / "out" / "1.png"


@pytest.mark.parametrize("filename", ["..", "", "a/.."])
def test_a_file_name_that_names_no_file_is_refused(server: str, tmp_path: Path, filename: str) -> None:
    image = an_image("/image.png").model_copy(update={"filename": filename})
    with Client(server) as client, pytest.raises(FarmError, match="not a valid file name"):
        client.download(image, tmp_path)
